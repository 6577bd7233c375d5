"""Train the small U-Net: from a FLARE-layout folder to float16 weights, resumable at any point.

    python train.py DATA [--schedule full|short] [--task tumour|organs_tumour] [--work DIR]

DATA holds imagesTr/<case>_0000.nii.gz and labelsTr/<case>.nii.gz. Every step (fingerprint, plans,
preprocessing, training, export) is skipped where its result lies in the work folder already, case by
case; a training that was stopped goes on from its checkpoint. Only imagesTr and labelsTr are ever
opened. The weights go to the work folder; `--out weights/TASK` ships them.
"""

import json
import sys
from pathlib import Path

from segkit import training
from segkit.image import read_labels
from segkit.log import log
from segkit.plan import ABDOMINAL_ORGANS
from segkit.training.program import Options, train_main, training_parser, with_places

HERE = Path(__file__).resolve().parent
LOOKED_AT = 8
LABELS = {
    "tumour": ("background", "tumour"),
    "organs_tumour": ("background", *ABDOMINAL_ORGANS, "tumour"),
}


def train(options: Options) -> None:
    """Run every step that is left to do."""
    task = training.Task(options.task, LABELS[options.task])
    recipe_file = options.recipe or recipe_path(options.schedule, options.task)
    recipe = json.loads(recipe_file.read_text())
    architecture = json.loads((HERE / "plans" / "architecture.json").read_text())
    how = training.Options(
        work=options.work,
        threads=options.threads,
        device=options.device,
        fold=options.fold,
        hours=options.hours if "hours" in recipe.get("schedule", {}) else None,
        seed=options.seed,
        start_from=options.start_from,
        processes=options.processes,
        gpus=options.gpus,
    )
    if options.export_only:
        checkpoint = training.newest_checkpoint(task, recipe, how)
    else:
        checkpoint = training.train(training.pairs_of(options.data), task, recipe, architecture, how)
    training.export(checkpoint, options.out)


def parse_options() -> Options:
    """The command line."""
    parser = training_parser(__doc__, seed=None)
    parser.add_argument("--task", choices=sorted(LABELS), help="guessed from the labels if not given")
    parser.add_argument("--recipe", type=Path, help="a JSON file of your own in place of plans/SCHEDULE")
    parser.add_argument("--fold", default="all", help="'all', or 0 to 4 to hold out a fifth of the cases")
    parser.add_argument("--gpus", type=int, default=1, help="GPUs that share the patches of a step")
    parser.add_argument(
        "--start-from", type=Path, help="a model folder whose weights a new training begins with"
    )
    parser.add_argument("--export-only", action="store_true", help="only export the newest checkpoint")
    options = parser.parse_args()
    options.task = options.task or guess_task(options.data)
    return with_places(options, HERE.name, f"{options.task}-{options.schedule}")


def guess_task(data: Path) -> str:
    """The task of a folder: two labels are the tumour, more are the organs.

    dataset.json names the labels; where it is missing, a few label maps are looked at.
    """
    description = data / "dataset.json"
    if description.exists():
        return "tumour" if len(json.loads(description.read_text())["labels"]) == 2 else "organs_tumour"
    pairs = training.pairs_of(data)
    largest = max(int(read_labels(pair.label).max()) for pair in pairs[:LOOKED_AT])
    task = "tumour" if largest <= 1 else "organs_tumour"
    log.info(f"{description} is missing; labels up to {largest} in the first cases mean --task {task}")
    return task


def recipe_path(schedule: str, task: str) -> Path:
    """The file with spacing, patch and schedule."""
    own = HERE / "plans" / f"{schedule}.{task}.json"
    return own if own.exists() else HERE / "plans" / f"{schedule}.json"


if __name__ == "__main__":
    sys.exit(train_main(parse_options, train))
