"""From partially annotated CTs to the four models: all steps, or some of them; resumable at any point.

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

from coarse_to_fine.training import RECIPES, STEPS, Pipeline, Setup
from segkit.partial.program import completed, share_hours, steps_parser, table_of, training_options
from segkit.training.program import Options, train_main

HERE = Path(__file__).resolve().parent


def train(options: Options) -> None:
    """Run the steps that are wanted and left to do."""
    pipeline = Pipeline(make_setup(options))
    for step in options.steps:
        pipeline.run(step)


def parse_options() -> Options:
    """The command line."""
    return completed(steps_parser(__doc__, STEPS).parse_args(), HERE.name, STEPS)


def make_setup(options: Options) -> Setup:
    """Read the table of annotations and the recipes."""
    recipes = load_recipes(options.recipes or HERE / "plans", options.schedule)
    share_hours(recipes, options.hours)
    return Setup(
        table=table_of(options),
        recipes=recipes,
        work=options.work,
        out=options.out,
        options=training_options(options),
        organ_labels=options.organ_labels,
    )


def load_recipes(folder: Path, schedule: str) -> dict[str, dict[str, Any]]:
    """The recipe of each network, all of one architecture."""
    architecture = json.loads((folder / f"architecture.{schedule}.json").read_text())
    return {
        name: {**json.loads((folder / f"{name}.{schedule}.json").read_text()), "architecture": architecture}
        for name in RECIPES
    }


if __name__ == "__main__":
    sys.exit(train_main(parse_options, train))
