"""Train every shipped method on phantoms, one after another, within a time budget.

    python submissions/train_all.py --work WORK [--minutes 25] [--cases 1000] [--cts STORE]
    python submissions/train_all.py --work WORK --rehearse

Makes phantoms on all cores, trains, judges on held-out phantoms, and leaves the models in WORK/models,
float16 in files of at most 15 MiB, which segkit.training.phantoms.shards joins. The
same command goes on where it stopped. `--rehearse` does three steps of each on small patches. Needs torch,
numpy, scipy and safetensors.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

HERE = Path(__file__).resolve().parent
# A machine with a GPU may have nothing but torch: the submissions' packages and the phantom generator are
# taken from where they lie.
sys.path[:0] = [
    str(HERE / "segkit"),
    str(HERE / "cascade"),
    str(HERE / "distilled_student"),
    str(HERE / "coarse_to_fine"),
    str(HERE.parent),
]

from segkit.log import log  # noqa: E402

if TYPE_CHECKING:
    from segkit.training.phantoms.loop import Standing


@dataclass(frozen=True)
class Step:
    """One training.

    Attributes:
        name: Its folder among the models.
        recipe: Its recipe, from the folder of submissions.
        seconds: Its share of the budget: seconds of 25 minutes.
        start: The model it begins with, by name.
    """

    name: str
    recipe: str
    seconds: float
    start: str = ""


PHANTOM_SECONDS, FUSION_SECONDS, REST_SECONDS = 110, 30, 80
STEPS = (
    Step("cascade_location", "cascade/plans/phantom.location.json", 50),
    Step("small_unet_organs_tumour", "small_unet/plans/phantom.organs_tumour.json", 400),
    Step("cascade_organs", "cascade/plans/phantom.organs.json", 380),
    Step("organs", "distilled_student/plans/phantom.organs.json", 180),
    Step("teacher", "distilled_student/plans/phantom.teacher.json", 90),
    Step("student", "distilled_student/plans/phantom.student.json", 120, start="organs"),
    Step("fine_organs", "coarse_to_fine/plans/phantom.organs.json", 90, start="organs"),
    Step("coarse", "coarse_to_fine/plans/phantom.coarse.json", 30, start="fine_organs"),
    Step("fine_tumour1", "coarse_to_fine/plans/phantom.tumour1.json", 60, start="fine_organs"),
    Step("fine_tumour2", "coarse_to_fine/plans/phantom.tumour2.json", 60, start="fine_organs"),
    Step("small_unet_tumour", "small_unet/plans/phantom.tumour.json", 60),
)
REHEARSAL_STEPS, REHEARSAL_CASES, REHEARSAL_SIDE = 3, 8, 32
REHEARSAL_COARSER = 4.0
REHEARSAL_SPACING_MM = (9.0, 8.0, 8.0)
HELD_OUT_SEED = 9001


def main() -> int:
    """Run every step that is left."""
    options = parse_options()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from segkit.program import run_program

    def work() -> None:
        for line in run_all(options):
            print(line, flush=True)

    return run_program(work, quiet=options.rehearse)


def run_all(options: argparse.Namespace) -> Iterator[str]:
    """Make phantoms, train everything; a line for each model."""
    from segkit.training.phantoms.make import SPACING_MM, make_phantoms

    spacing = REHEARSAL_SPACING_MM if options.rehearse else SPACING_MM
    stores = options.work / "phantoms", options.work / "held_out"
    log.info("== phantoms")
    for folder, cases, seed in (
        (stores[0], options.cases, 1),
        (stores[1], max(2, options.cases // 60), HELD_OUT_SEED),
    ):
        make_phantoms(folder, cases=cases, seed=seed, spacing_mm=spacing, workers=options.threads)
    rows = []
    for step in STEPS:
        if options.only and step.name not in options.only:
            continue
        store = training_store(step, stores[0], options)
        if store is None:
            log.info(f"== {step.name} left out: give CTs with --cts")
            continue
        began = time.monotonic()
        standing = train_step(step, store, stores[1], options)
        dice = standing.rows[-1]["validation_dice"] if standing.rows else float("nan")
        rows.append({"model": step.name, "steps": standing.step, "seconds": standing.elapsed_s, "dice": dice})
        (options.work / "train_all.json").write_text(json.dumps(rows, indent=1))
        took_s = time.monotonic() - began
        yield f"{step.name}: {standing.step} steps, held-out Dice {dice:.3f}, {took_s:.0f} s"
    write_shards(options)


def training_store(step: Step, phantoms: Path, options: argparse.Namespace) -> Path | None:
    """What a step learns from; None where it needs CTs and there are none."""
    if step.name == "student":
        return fused_store(phantoms, options)
    if step.name == "small_unet_tumour":
        # A rehearsal is about the steps, not about what they learn.
        return options.cts or (phantoms if options.rehearse else None)
    return phantoms


def fused_store(phantoms: Path, options: argparse.Namespace) -> Path:
    """Phantoms with the labels that the organ model and the teacher give to what is not annotated."""
    import torch
    from distilled.phantoms import fuse_store
    from segkit.training.phantoms.store import read_store

    log.info("== pseudo labels")
    out = options.work / "fused"
    fuse_store(
        read_store([phantoms])[: options.pseudo_labelled],
        organs=whole(options.work / "models" / "organs"),
        teacher=whole(options.work / "models" / "teacher"),
        out=out,
        seed=1,
        device=torch.device(options.device),
        coarser=REHEARSAL_COARSER if options.rehearse else 1.0,
    )
    return out


def train_step(step: Step, store: Path, held_out: Path, options: argparse.Namespace) -> Standing:
    """One training; returns where it stands."""
    from segkit.training.phantoms.train import Run, train

    changes, steps, hours = {}, None, None
    if options.rehearse:
        recipe = json.loads((HERE / step.recipe).read_text())
        patch = recipe["patch"]
        # Networks of whole volumes and of slices halve them more often.
        halved_often = recipe.get("sampling", {}).get("whole") or 1 in patch
        side = REHEARSAL_SIDE * (2 if halved_often else 1)
        changes = {
            "patch": [min(size, side) for size in patch],
            "tile": patch,
            "cuda": {},
            "schedule": {"batch": 1, "judged_patches": 1, "warm_up": 0.0},
        }
        steps = REHEARSAL_STEPS
    else:
        whole_s = PHANTOM_SECONDS + FUSION_SECONDS + REST_SECONDS + sum(each.seconds for each in STEPS)
        hours = options.minutes / 60 * step.seconds / whole_s
    log.info(f"== {step.name}")
    real_scans = step.name == "small_unet_tumour"
    run = Run(
        recipe=HERE / step.recipe,
        stores=(store,),
        work=options.work / "training" / step.name,
        out=options.work / "models" / step.name,
        held_out=None if real_scans else held_out,
        start_from=whole(options.work / "models" / step.start) if step.start else None,
        hours=hours,
        steps=steps,
        threads=options.threads,
        device=options.device,
        bfloat16="no" if options.rehearse else "measure",
        compile=not options.no_compile,
        changes=changes,
    )
    return train(run).standing


def whole(model: Path) -> Path:
    """A model folder whose weights are in one file."""
    from segkit.training.phantoms.shards import join

    join(model)
    return model


def write_shards(options: argparse.Namespace) -> None:
    """Cut weights that are too large for some ways of transport."""
    from segkit.training.phantoms.shards import split

    for path in sorted((options.work / "models").rglob("*.safetensors")):
        split(path)


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--work", type=Path, help="keeps everything (default: in the user's cache)")
    parser.add_argument("--minutes", type=float, default=25.0, help="time for all trainings together")
    parser.add_argument("--cases", type=int, help="phantoms to learn from (default: 1000; 8 in a rehearsal)")
    parser.add_argument(
        "--pseudo-labelled", type=int, help="phantoms for the student (default: 240; 2 in a rehearsal)"
    )
    parser.add_argument(
        "--cts", type=Path, help="store of segkit.training.phantoms.from_cts for the tumour model"
    )
    parser.add_argument("--only", nargs="+", choices=[step.name for step in STEPS], help="some of the models")
    parser.add_argument("--rehearse", action="store_true", help="three steps of each, small, quiet")
    parser.add_argument("--threads", type=int, help="CPU threads and processes (default: all CPUs)")
    parser.add_argument("--device", choices=["cpu", "cuda"], help="default: cuda where there is one")
    parser.add_argument("--no-compile", action="store_true", help="do not compile networks on a GPU")
    options = parser.parse_args()
    from segkit.torch_engine import best_device
    from segkit.training.places import default_work

    options.device = options.device or best_device()
    options.cases = options.cases or (REHEARSAL_CASES if options.rehearse else 1000)
    options.pseudo_labelled = options.pseudo_labelled or (2 if options.rehearse else 240)
    options.work = options.work or default_work("train_all", "rehearsal" if options.rehearse else "work")
    return options


if __name__ == "__main__":
    sys.exit(main())
