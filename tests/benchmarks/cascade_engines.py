"""What the cascade's engines cost and gain: OpenVINO in float32 and bfloat16 beside plain torch.

    python tests/benchmarks/cascade_engines.py --inputs DIR [--references DIR] [--rounds 2] [--without torch]

Every round segments all CTs of the inputs with each engine, in turns, so that a busy machine slows all of
them. Prints the wall time of each, the lowest Dice of a label against torch's map (all CTs taken together)
and, with references, the mean Dice over the labels that they hold. Needs the training environment.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
SUBMISSIONS = HERE.parents[1] / "submissions"
sys.path.insert(0, str(SUBMISSIONS / "cascade"))

from cascade.export import export  # noqa: E402
from cascade.model import load_network  # noqa: E402
from cascade.pipeline import Cascade  # noqa: E402
from cascade.plan import PHASES, load_plan  # noqa: E402
from segkit import OpenVINOEngine, TorchEngine, read_ct  # noqa: E402
from segkit.cases import IMAGE_ENDING  # noqa: E402
from segkit.image import read_labels  # noqa: E402
from segkit.int8 import dice_per_label  # noqa: E402
from segkit.log import log, show  # noqa: E402
from segkit_speed import worst_label  # noqa: E402

ENGINES = ("torch", "f32", "bf16")


def main() -> None:
    """Run the rounds and print a table."""
    show()
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--inputs", type=Path, required=True, help=f"CTs, *{IMAGE_ENDING}")
    parser.add_argument("--references", type=Path, help="their labels, <case>.nii.gz")
    parser.add_argument("--weights", type=Path, default=SUBMISSIONS / "cascade" / "weights")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--without", choices=ENGINES, action="append", default=[])
    options = parser.parse_args()
    names = [name for name in ENGINES if name not in options.without]
    paths = sorted(options.inputs.glob(f"*{IMAGE_ENDING}"))
    seconds: dict[str, list[float]] = {name: [] for name in names}
    maps: dict[str, list[np.ndarray]] = {}
    with tempfile.TemporaryDirectory() as model:
        export(options.weights, Path(model))
        cascades = {name: cascade_with(name, options.weights, Path(model)) for name in names}
        for number in range(options.rounds):
            for name, cascade in cascades.items():
                maps[name], taken = [], 0.0
                for path in paths:
                    ct = read_ct(path)
                    started = time.perf_counter()
                    maps[name].append(cascade.segment(ct))
                    taken += time.perf_counter() - started
                seconds[name].append(taken)
                log.info(f"round {number + 1} of {options.rounds}, {name}: {taken:.1f} s")
    print("| engine | wall time, s | lowest Dice of a label against the first row | mean Dice |")
    print("|---|---|---|---|")
    for name in names:
        worst = worst_label(maps[name], maps[names[0]])
        dice = mean_dice(maps[name], paths, options.references) if options.references else ""
        print(f"| {name} | {statistics.median(seconds[name]):.1f} | {worst:.4f} | {dice} |")


def cascade_with(engine: str, weights: Path, model: Path) -> Cascade:
    """The cascade on one engine."""
    plan = load_plan(weights)
    if engine == "torch":
        return Cascade(plan, *(TorchEngine(load_network(weights, plan, phase)) for phase in PHASES))
    return Cascade(
        plan, *(OpenVINOEngine(model / f"{phase}.xml", bfloat16=engine == "bf16") for phase in PHASES)
    )


def mean_dice(maps: list[np.ndarray], paths: list[Path], references: Path) -> str:
    """Mean Dice over the labels that each reference holds, up to 13."""
    scores = []
    for labels, path in zip(maps, paths, strict=True):
        stored = read_labels(references / path.name.replace(IMAGE_ENDING, ".nii.gz"))
        reference = read_ct(path).orientation.to_canonical(stored)
        scores += dice_per_label(labels, np.where(reference > 13, 0, reference))
    return f"{np.mean(scores):.4f}"


if __name__ == "__main__":
    main()
