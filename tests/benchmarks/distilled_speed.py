"""What the distilled student's two named settings cost and gain: `fast` beside `exact`.

    python tests/benchmarks/distilled_speed.py MODEL --inputs DIR [--references DIR] [--each] [--rounds 3]

MODEL is a model folder with its IR (`python -m segkit.export`), whose labels are those of the references.
Every round segments all CTs of the inputs with each setting, in turns, so that a busy machine slows all of
them. `--each` adds the exact path with one of the settings of `fast` at a time. Reading and writing are
the same for all and left out. Needs the training environment.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from segkit import CT, Plan, Segmenter, Settings, load_engine, load_plan, read_ct
from segkit.cases import IMAGE_ENDING
from segkit.engine import fastest, network_in
from segkit.int8 import dice_per_label
from segkit.log import log, show
from segkit.method import read_settings
from segkit.profile import Profile
from segkit_speed import worst_label

SUBMISSIONS = Path(__file__).resolve().parents[2] / "submissions"
MODES = read_settings(SUBMISSIONS / "distilled_student")[1]


@dataclass
class Runs:
    """What one setting did.

    Attributes:
        wall_s, cpu_s: For each round, seconds by stage, all CTs taken together.
        tiles: Tiles run, all CTs taken together.
        maps: The label map of each CT.
    """

    wall_s: list[dict[str, float]] = field(default_factory=list)
    cpu_s: list[dict[str, float]] = field(default_factory=list)
    tiles: int = 0
    maps: list[np.ndarray] = field(default_factory=list)


def main() -> None:
    """Run the rounds and print three tables."""
    show()
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--inputs", type=Path, required=True, help=f"CTs, *{IMAGE_ENDING}")
    parser.add_argument("--references", type=Path, help="their labels, <case>.nii.gz")
    parser.add_argument("--each", action="store_true", help="also each setting of fast by itself")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, help="CPU threads; what this process may use if not given")
    options = parser.parse_args()

    paths = sorted(options.inputs.glob(f"*{IMAGE_ENDING}"))
    if not paths:
        parser.error(f"no *{IMAGE_ENDING} in {options.inputs}")
    cts = [read_ct(path) for path in paths]
    references = [reference_of(path, ct, options.references) for path, ct in zip(paths, cts, strict=True)]
    plan = load_plan(options.model / "plans.json")
    settings = {
        "exact": MODES["exact"],
        **(one_by_one() if options.each else {}),
        "fast": MODES["fast"],
    }
    runs = {name: Runs() for name in settings}
    engines, quickest = {}, fastest(network_in(options.model))
    for number in range(options.rounds):
        for name, chosen in settings.items():
            precision = (
                fastest(network_in(options.model)) if chosen["engine"] == "fastest" else chosen["engine"]
            )
            if precision not in engines:
                engines[precision] = load_engine(options.model, precision, threads=options.threads)
            run_round(plan, engines[precision], chosen, cts, runs[name])
        log.info(f"round {number + 1} of {options.rounds}")
    print(f"{len(cts)} CTs, {options.rounds} rounds; `fast` runs {quickest}\n")
    print_times(runs)
    print_agreement(runs, references)


def one_by_one() -> dict[str, dict]:
    """The exact path with one of the settings of `fast` at a time."""
    exact, fast = MODES["exact"], MODES["fast"]
    return {
        f"exact, {name}={fast[name]}": {**exact, name: fast[name]}
        for name in exact
        if fast[name] != exact[name]
    }


def reference_of(path: Path, ct: CT, references: Path | None) -> np.ndarray | None:
    """The reference of a CT in the orientation that predictions have here; None where there are none."""
    if references is None:
        return None
    labels = sitk.ReadImage(str(references / path.name.replace(IMAGE_ENDING, ".nii.gz")))
    return ct.orientation.to_canonical(sitk.GetArrayFromImage(labels))


def run_round(plan: Plan, engine: object, chosen: dict, cts: list[CT], runs: Runs) -> None:
    """Segment every CT once and add to the runs of a setting."""
    settings = Settings(**{name: value for name, value in chosen.items() if name != "engine"})
    profile, tiles = Profile(), [0]
    engine.compile(plan.patch)  # not part of any CT's time: an engine shared by two settings does it once

    def count(_done: int, _total: int) -> None:
        tiles[0] += 1

    segmenter = Segmenter(plan, engine, settings, on_tile=count, profile=profile)
    runs.maps = [segmenter.segment(ct) for ct in cts]
    runs.tiles = tiles[0]
    runs.wall_s.append(dict(profile.wall_s))
    runs.cpu_s.append(dict(profile.cpu_s))


def print_times(runs: dict[str, Runs]) -> None:
    """Tiles, seconds by stage and in all, median over rounds; time relative to the exact path."""
    stages = list(runs["exact"].wall_s[0])
    header = " | ".join(["setting", "tiles", *(f"{stage}, s" for stage in stages), "all, s", "processor, s"])
    print(f"| {header} | ratio |")
    print("|---" * (len(stages) + 5) + "|")
    for name, run in runs.items():
        by_stage = [statistics.median(each[stage] for each in run.wall_s) for stage in stages]
        # The ratio of each round's own two times: what else the machine did then slowed both.
        ratio = statistics.median(
            sum(mine.values()) / sum(exact.values())
            for mine, exact in zip(run.cpu_s, runs["exact"].cpu_s, strict=True)
        )
        wall, processor = (
            statistics.median(sum(each.values()) for each in kind) for kind in (run.wall_s, run.cpu_s)
        )
        cells = " | ".join(f"{seconds:.2f}" for seconds in by_stage)
        print(f"| {name} | {run.tiles} | {cells} | {wall:.2f} | {processor:.2f} | {ratio:.2f} |")
    print("\nThe ratio is that of processor time to the exact path's.\n")


def print_agreement(runs: dict[str, Runs], references: list[np.ndarray | None]) -> None:
    """Dice against the references and against the exact path's labels."""
    exact = runs["exact"].maps
    print("| setting | Dice, references | Dice, exact path | its worst label | voxels equal |")
    print("|---|---|---|---|---|")
    for name, run in runs.items():
        known = [
            (labels, each) for labels, each in zip(run.maps, references, strict=True) if each is not None
        ]
        cells = [
            f"{mean_dice(known):.4f}" if known else "",
            f"{mean_dice(list(zip(run.maps, exact, strict=True))):.4f}",
            f"{worst_label(run.maps, exact):.4f}",
            f"{np.mean([(a == b).mean() for a, b in zip(run.maps, exact, strict=True)]):.5f}",
        ]
        print(f"| {name} | {' | '.join(cells)} |")


def mean_dice(pairs: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """Mean Dice over the labels that the second map of each pair holds."""
    return float(np.mean([dice for labels, reference in pairs for dice in dice_per_label(labels, reference)]))


if __name__ == "__main__":
    main()
