"""Train the small U-Net: from a FLARE-layout folder to float16 weights, resumable at any point.

    python train.py DATA [--schedule full|short] [--task tumour|organs_tumour] [--work DIR]

DATA holds imagesTr/<case>_0000.nii.gz and labelsTr/<case>.nii.gz. Every step (fingerprint, plans,
preprocessing, training, export) is skipped where its result lies in the work folder already, case by
case; a training that was stopped goes on from its checkpoint. Only imagesTr and labelsTr are ever
opened. The weights go to the work folder; `--out weights/TASK` ships them.
"""

import argparse
import json
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "segkit"))

from segkit import training  # noqa: E402
from segkit.errors import SegkitError  # noqa: E402
from segkit.image import read_labels  # noqa: E402
from segkit.plan import ABDOMINAL_ORGANS  # noqa: E402
from segkit.training.places import default_out, default_work  # noqa: E402

LOOKED_AT = 8
LABELS = {
    "tumour": ("background", "tumour"),
    "organs_tumour": ("background", *ABDOMINAL_ORGANS, "tumour"),
}


def main() -> int:
    """Run every step that is left to do."""
    try:
        arguments = parse_options()
    except SegkitError as error:
        say(f"error: {error}")
        return 2
    say(f"work folder {arguments.work}: delete it to start anew")
    task = training.Task(arguments.task, LABELS[arguments.task])
    recipe_file = arguments.recipe or recipe_path(arguments.schedule, arguments.task)
    recipe = json.loads(recipe_file.read_text())
    architecture = json.loads((HERE / "plans" / "architecture.json").read_text())
    options = training.Options(
        work=arguments.work,
        threads=arguments.threads,
        device=arguments.device,
        fold=arguments.fold,
        hours=arguments.hours if "hours" in recipe.get("schedule", {}) else None,
        seed=arguments.seed,
        start_from=arguments.start_from,
        processes=arguments.processes,
        gpus=arguments.gpus,
    )
    try:
        if arguments.export_only:
            checkpoint = training.newest_checkpoint(task, recipe, options)
        else:
            pairs = training.pairs_of(arguments.data)
            checkpoint = training.train(pairs, task, recipe, architecture, options)
        training.export(checkpoint, arguments.out)
    except KeyboardInterrupt:
        say("stopped; the same command goes on from the last checkpoint")
        return 130
    except SegkitError as error:
        say(f"error: {error}")
        return 2
    return 0


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, help="folder with imagesTr and labelsTr")
    parser.add_argument("--schedule", choices=["full", "short"], default="full")
    parser.add_argument("--task", choices=sorted(LABELS), help="guessed from the labels if not given")
    parser.add_argument(
        "--work", type=Path, help="work folder (default: TASK-SCHEDULE in the user's cache, see docs)"
    )
    parser.add_argument("--out", type=Path, help="where the weights go (default: WORK/model)")
    parser.add_argument("--recipe", type=Path, help="a JSON file of your own in place of plans/SCHEDULE")
    parser.add_argument("--fold", default="all", help="'all', or 0 to 4 to hold out a fifth of the cases")
    parser.add_argument("--hours", type=float, help="time for the short schedule")
    parser.add_argument("--seed", type=int, help="seed for the short schedule")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="CPU threads")
    parser.add_argument(
        "--processes",
        type=int,
        help="cases prepared at a time (default: half of the threads, as memory allows)",
    )
    parser.add_argument("--gpus", type=int, default=1, help="GPUs that share the patches of a step")
    parser.add_argument("--device", choices=["cpu", "cuda"], help="default: cuda where there is one")
    parser.add_argument(
        "--start-from", type=Path, help="a model folder whose weights a new training begins with"
    )
    parser.add_argument("--export-only", action="store_true", help="only export the newest checkpoint")
    options = parser.parse_args()
    options.task = options.task or guess_task(options.data)
    options.work = options.work or default_work(HERE.name, f"{options.task}-{options.schedule}")
    options.out = options.out or default_out(options.work)
    return options


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
    say(f"{description} is missing; labels up to {largest} in the first cases mean --task {task}")
    return task


def recipe_path(schedule: str, task: str) -> Path:
    """The file with spacing, patch and schedule."""
    own = HERE / "plans" / f"{schedule}.{task}.json"
    return own if own.exists() else HERE / "plans" / f"{schedule}.json"


def say(message: str) -> None:
    """Progress goes to stderr."""
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
