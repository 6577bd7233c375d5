"""What the parts of a training on phantoms bring: one small network trained in turn without each of them.

    python tests/benchmarks/training_ablation.py WORK --seeds 1 2

Every row differs from the first in one thing. All are judged on the same phantoms of another population, with
the generator's whole variety: as they are scanned, and as a scanner shows them that none of the rows was
trained on, with half of the contrast above 40 HU and 30 HU more noise. Dice is the mean over six organs,
where the reference holds them, and over the phantoms. Goes on where it was stopped; needs torch.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from segkit.image import read_ct, read_labels
from segkit.int8 import dice
from segkit.model import load_model
from segkit.predict import Segmenter, Settings
from segkit.torch_engine import TorchEngine
from segkit.training.phantoms.intensity import PLAIN
from segkit.training.phantoms.make import make_phantoms
from segkit.training.phantoms.train import Run, train

from harness.data.phantom import write_dataset

RECIPE = Path(__file__).with_suffix(".json")
PHANTOMS, HELD_OUT = 48, 8
NARROW = 0.4
"""Share of the generator's variety that the row without it is trained on: about that of version 2."""


@dataclass(frozen=True)
class Row:
    """A training: what of the recipe it changes, and what it is shown."""

    name: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    variety: float = 1.0
    length: int = 1


ROWS = (
    Row("all"),
    Row("intensities as painted", {"randomisation": dataclasses.asdict(PLAIN)}),
    Row("patients that differ less", variety=NARROW),
    Row("larger patches", {"patch": [32, 32, 40], "tile": [24, 24, 32]}),
    Row("twice the steps", length=2),
)


def main() -> None:
    """Train, judge, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("work", type=Path, help="gets phantoms, trainings and scores")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1], help="of trainings; one after another")
    parser.add_argument("--steps", type=int, default=2000, help="of a training; one row takes twice as many")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    held_out = options.work / "held_out"
    write_dataset(held_out, cases=HELD_OUT, seed=77)
    for seed in options.seeds:
        for row in ROWS:
            folder = options.work / f"{row.name.replace(' ', '_')}.{options.steps}.{seed}"
            if (folder / "scores.json").exists():
                continue
            store = options.work / f"variety_{row.variety}"
            recipe = json.loads(RECIPE.read_text())
            make_phantoms(
                store,
                cases=PHANTOMS,
                seed=1,
                spacing_mm=recipe["spacing_mm"],
                variety=row.variety,
                workers=options.threads,
            )
            trainer = train(
                Run(
                    recipe=RECIPE,
                    stores=(store,),
                    work=folder,
                    out=folder / "model",
                    steps=row.length * options.steps,
                    seed=seed,
                    threads=options.threads,
                    device="cpu",
                    changes=row.changes,
                )
            )
            scores = judged(folder / "model", held_out, recipe["learnt"])
            scores["minutes"] = [trainer.standing.elapsed_s / 60]
            (folder / "scores.json").write_text(json.dumps(scores))
        print(table(options.work, options.steps), flush=True)


def judged(model: Path, data: Path, learnt: Mapping[str, int]) -> dict[str, list[float]]:
    """Dice of each organ of each phantom, scanned as usual and otherwise."""
    plan, network = load_model(model)
    segmenter = Segmenter(plan, TorchEngine(network, device="cpu"), Settings())
    scores: dict[str, list[float]] = {"usual": [], "other": []}
    for path in sorted((data / "imagesVal").glob("*_0000.nii.gz")):
        ct = read_ct(path)
        stored = read_labels(data / "labelsVal" / path.name.replace("_0000", ""))
        reference = ct.orientation.to_canonical(stored)
        random = np.random.default_rng(len(scores["usual"]))
        weak = np.where(ct.array > 40, 40 + (ct.array - 40.0) / 2, ct.array)
        noisy = np.rint(weak + random.normal(0, 30, weak.shape)).astype(ct.array.dtype)
        for name, seen in (("usual", ct), ("other", dataclasses.replace(ct, array=noisy))):
            labels = segmenter.segment(seen)
            for value, output in learnt.items():
                here, there = labels == output, reference == int(value)
                if there.any():
                    scores[name].append(dice(here, there))
    return scores


def table(work: Path, steps: int) -> str:
    """Every row that was judged, as Markdown: the mean of its trainings, and each of them."""
    lines = ["| training | steps | minutes | scanned as usual | scanned otherwise |", "|---|---|---|---|---|"]
    for row in ROWS:
        found = sorted(work.glob(f"{row.name.replace(' ', '_')}.{steps}.*/scores.json"))
        if not found:
            continue
        scores = [json.loads(path.read_text()) for path in found]
        cells = []
        for name in ("usual", "other"):
            means = [100 * float(np.mean(one[name])) for one in scores]
            cells.append(f"{np.mean(means):.1f} ({', '.join(f'{mean:.1f}' for mean in means)})")
        minutes = np.mean([one["minutes"] for one in scores])
        lines.append(f"| {row.name} | {row.length * steps} | {minutes:.1f} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
