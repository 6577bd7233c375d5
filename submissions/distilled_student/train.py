"""From partially annotated CTs to a student: all steps, or some of them; resumable at any point.

    python train.py DATA [--schedule full|short] [--until STEP | --only STEP] [--annotated TABLE]

DATA holds imagesTr/<case>_0000.nii.gz, labelsTr/<case>.nii.gz for the cases that have any label, and in
dataset.json which values each case annotates ("annotated": {"case": [1, 2, 14]}), or in a table of its own
(--annotated). The inputs are only read. Every step leaves what it made in the work folder, and the same
command goes on where it stopped (Ctrl-C, power cut).
"""

import argparse
import json
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "segkit")]

from distilled.pipeline import STEPS, WHAT_STUDENTS_LEARN_FROM, Pipeline, Setup, say  # noqa: E402
from segkit.errors import SegkitError  # noqa: E402
from segkit.training import Options  # noqa: E402
from segkit.training.places import default_out, default_work  # noqa: E402

RECIPES = ("teacher", "organs", "student")


def main() -> int:
    """Run the steps that are wanted and left to do."""
    options = parse_options()
    try:
        pipeline = Pipeline(make_setup(options))
        say(f"work folder {options.work}: delete it to start anew")
        for step in options.steps:
            pipeline.run(step)
    except KeyboardInterrupt:
        say("stopped; the same command goes on")
        return 130
    except SegkitError as error:
        say(f"error: {error}")
        return 2
    return 0


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], epilog=f"steps in order: {', '.join(STEPS)}"
    )
    parser.add_argument("data", type=Path, help="folder with imagesTr, labelsTr and dataset.json")
    parser.add_argument("--schedule", choices=["full", "short"], default="full")
    steps = parser.add_mutually_exclusive_group()
    steps.add_argument("--until", choices=STEPS, help="the last step to run")
    steps.add_argument("--only", choices=STEPS, help="one step, from what the others left")
    parser.add_argument("--annotated", type=Path, help="JSON or CSV: which label values each case annotates")
    parser.add_argument(
        "--complete", action="store_true", help="every case with a label file annotates every class"
    )
    parser.add_argument(
        "--organ-labels", type=Path, help="organ pseudo labels of another model, <case>.nii.gz"
    )
    parser.add_argument(
        "--student-labels",
        choices=sorted(WHAT_STUDENTS_LEARN_FROM),
        default="fused",
        help="what the student learns from; "
        + "; ".join(f"{name}: {what}" for name, what in WHAT_STUDENTS_LEARN_FROM.items()),
    )
    parser.add_argument(
        "--recipes", type=Path, help="folder with teacher, organs and student recipes of your own"
    )
    parser.add_argument("--hours", type=float, help="time for all trainings, shared as in the recipes")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", type=Path, help="work folder (default: SCHEDULE in the user's cache)")
    parser.add_argument("--out", type=Path, help="the student's model folder (default: WORK/model)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="CPU threads")
    parser.add_argument(
        "--processes",
        type=int,
        help="cases prepared at a time (default: half of the threads, as memory allows)",
    )
    parser.add_argument("--gpus", type=int, default=1, help="GPUs that share the patches of a step")
    parser.add_argument("--device", choices=["cpu", "cuda"], help="default: cuda where there is one")
    options = parser.parse_args()
    options.work = options.work or default_work(HERE.name, options.schedule)
    options.out = options.out or default_out(options.work)
    if options.only:
        options.steps = [options.only]
    else:
        options.steps = STEPS[: STEPS.index(options.until or STEPS[-1]) + 1]
    return options


def make_setup(options: argparse.Namespace) -> Setup:
    """Read the table of annotations and the recipes."""
    from distilled.annotation import read_annotations

    recipes = load_recipes(options.recipes or HERE / "plans", options.schedule)
    if options.hours is not None:
        share_hours(recipes, options.hours)
    starts_from_organs = recipes["student"].pop("starts_from_organs", False) and not options.organ_labels
    return Setup(
        table=read_annotations(options.data, options.annotated, complete=options.complete),
        recipes=recipes,
        work=options.work,
        out=options.out,
        options=Options(
            work=options.work,
            threads=options.threads,
            device=options.device,
            fold="all",
            hours=None,
            seed=options.seed,
            start_from=None,
            import_from=(HERE,),
            processes=options.processes,
            gpus=options.gpus,
        ),
        organ_labels=options.organ_labels,
        student_labels=options.student_labels,
        student_starts_from_organs=starts_from_organs,
    )


def load_recipes(folder: Path, schedule: str) -> dict[str, dict]:
    """The three recipes, each with its architecture; the organ model has the student's."""
    recipes = {name: json.loads((folder / f"{name}.{schedule}.json").read_text()) for name in RECIPES}
    for name in ("organs", "student"):
        recipes[name]["architecture"] = json.loads((folder / "architecture.student.json").read_text())
    return recipes


def share_hours(recipes: dict[str, dict], hours: float) -> None:
    """Give each recipe its part of `hours`; schedules that count epochs alone stay as they are."""
    timed = [recipe["schedule"] for recipe in recipes.values() if "hours" in recipe.get("schedule", {})]
    whole = sum(schedule["hours"] for schedule in timed)
    for schedule in timed:
        schedule["hours"] *= hours / whole


if __name__ == "__main__":
    sys.exit(main())
