"""From partially annotated CTs to a student: all steps, or some of them; resumable at any point.

    python train.py DATA [--schedule full|short] [--until STEP | --only STEP] [--annotated TABLE]

DATA holds imagesTr/<case>_0000.nii.gz, labelsTr/<case>.nii.gz for the cases that have any label, and in
dataset.json which values each case annotates ("annotated": {"case": [1, 2, 14]}), or in a table of its own
(--annotated). The inputs are only read. Every step leaves what it made in the work folder, and the same
command goes on where it stopped (Ctrl-C, power cut).
"""

import json
import sys
from pathlib import Path
from typing import Any

from distilled.pipeline import STEPS, WHAT_STUDENTS_LEARN_FROM, Pipeline, Setup
from segkit.training import Options as TrainingOptions
from segkit.training.program import Options, train_main, training_parser, with_places

HERE = Path(__file__).resolve().parent
RECIPES = ("teacher", "organs", "student")


def train(options: Options) -> None:
    """Run the steps that are wanted and left to do."""
    pipeline = Pipeline(make_setup(options))
    for step in options.steps:
        pipeline.run(step)


def parse_options() -> Options:
    """The command line."""
    parser = training_parser(__doc__, epilog=f"steps in order: {', '.join(STEPS)}")
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
    parser.add_argument("--gpus", type=int, default=1, help="GPUs that share the patches of a step")
    options = parser.parse_args()
    if options.only:
        options.steps = [options.only]
    else:
        options.steps = STEPS[: STEPS.index(options.until or STEPS[-1]) + 1]
    return with_places(options, HERE.name, options.schedule)


def make_setup(options: Options) -> Setup:
    """Read the table of annotations and the recipes."""
    from segkit.partial.annotation import read_annotations

    recipes = load_recipes(options.recipes or HERE / "plans", options.schedule)
    if options.hours is not None:
        share_hours(recipes, options.hours)
    starts_from_organs = recipes["student"].pop("starts_from_organs", False) and not options.organ_labels
    return Setup(
        table=read_annotations(options.data, options.annotated, complete=options.complete),
        recipes=recipes,
        work=options.work,
        out=options.out,
        options=TrainingOptions(
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


def load_recipes(folder: Path, schedule: str) -> dict[str, dict[str, Any]]:
    """The three recipes, each with its architecture; the organ model has the student's."""
    recipes = {name: json.loads((folder / f"{name}.{schedule}.json").read_text()) for name in RECIPES}
    for name in ("organs", "student"):
        recipes[name]["architecture"] = json.loads((folder / "architecture.student.json").read_text())
    return recipes


def share_hours(recipes: dict[str, dict[str, Any]], hours: float) -> None:
    """Give each recipe its part of `hours`; schedules that count epochs alone stay as they are."""
    timed = [recipe["schedule"] for recipe in recipes.values() if "hours" in recipe.get("schedule", {})]
    whole = sum(schedule["hours"] for schedule in timed)
    for schedule in timed:
        schedule["hours"] *= hours / whole


if __name__ == "__main__":
    sys.exit(train_main(parse_options, train))
