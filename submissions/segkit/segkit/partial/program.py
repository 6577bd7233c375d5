"""What the train.py of a method of several steps has in common: its options, and how hours are shared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import segkit.training
from segkit.partial.annotation import AnnotationTable, read_annotations
from segkit.training.program import Options, training_parser, with_places


def steps_parser(about: str | None, steps: Sequence[str]) -> Any:
    """A parser with the options of a training of several steps from partially annotated cases.

    Args:
        about: The program's docstring, whose first line is shown.
        steps: Their names in order.
    """
    parser = training_parser(about, epilog=f"steps in order: {', '.join(steps)}")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--until", choices=steps, help="the last step to run")
    which.add_argument("--only", choices=steps, help="one step, from what the others left")
    parser.add_argument("--annotated", type=Path, help="JSON or CSV: which label values each case annotates")
    parser.add_argument(
        "--complete", action="store_true", help="every case with a label file annotates every class"
    )
    parser.add_argument(
        "--organ-labels", type=Path, help="organ pseudo labels of another model, <case>.nii.gz"
    )
    parser.add_argument("--recipes", type=Path, help="folder with recipes of your own")
    parser.add_argument("--gpus", type=int, default=1, help="GPUs that share the patches of a step")
    return parser


def completed(options: Options, method: str, steps: Sequence[str]) -> Options:
    """The options with the steps to run, the work folder and the model folder.

    Args:
        options: As the parser gives them.
        method: The submission.
        steps: All steps in order.
    """
    if options.only:
        options.steps = [options.only]
    else:
        options.steps = list(steps[: steps.index(options.until or steps[-1]) + 1])
    return with_places(options, method, options.schedule)


def table_of(options: Options) -> AnnotationTable:
    """The table of annotations that the options name.

    Raises:
        AnnotationError: There is none, or it cannot be used.
    """
    return read_annotations(options.data, options.annotated, complete=options.complete)


def training_options(options: Options, import_from: Path | None = None) -> segkit.training.Options:
    """The options of every training; its hours are those of its recipe.

    Args:
        options: As the parser gives them.
        import_from: Folder that network classes are imported from.
    """
    return segkit.training.Options(
        work=options.work,
        threads=options.threads,
        device=options.device,
        seed=options.seed,
        import_from=(import_from,) if import_from else (),
        processes=options.processes,
        gpus=options.gpus,
    )


def share_hours(recipes: Mapping[str, dict[str, Any]], hours: float | None) -> None:
    """Give each recipe its part of `hours`; schedules that count epochs alone stay as they are.

    Args:
        recipes: By name; their schedules are changed.
        hours: Of all trainings together; None leaves them as they are.
    """
    if hours is None:
        return
    timed = [recipe["schedule"] for recipe in recipes.values() if "hours" in recipe.get("schedule", {})]
    whole = sum(schedule["hours"] for schedule in timed)
    for schedule in timed:
        schedule["hours"] *= hours / whole
