"""What happens to one CT: read, find the body, run the U-Net over it in tiles, write the label map.

By default as tasks.json says for the task, which is the fast way; `--mode exact` takes the model's own
tiles in float32, `--mode reference` does what nnU-Net does, step by step, and needs torch.
"""

import argparse
import dataclasses
import json
import os
import sys
from pathlib import Path

from segkit import Segmenter, Settings, load_plan
from segkit.cases import Method, add_folder_options, segment_folder
from segkit.engine import open_engine
from segkit.profile import Profile

HERE = Path(__file__).resolve().parent
WORDS = ("engine", "windows", "labels_at")
EXACT = {"engine": "f32", "step": 0.5, "tile_voxels": 0}


def main() -> int:
    """Segment every CT of the inputs folder."""
    options = parse_options()
    return segment_folder(
        options.inputs,
        options.outputs,
        lambda profile: load_method(options, profile),
        show_profile=options.profile,
    )


def load_method(options: argparse.Namespace, profile: Profile) -> Method:
    """The model of a task, ready to run."""
    task = json.loads((HERE / "tasks.json").read_text())[options.task]
    folder = options.weights or HERE / "weights" / task["weights"]
    plan = load_plan(folder / "plans.json")
    leave_out = [plan.labels.index(name) for name in task["leave_out"]]
    chosen = {**task["settings"], **(EXACT if options.mode != "fast" else {}), **dict(options.set)}
    engine_name = chosen.pop("engine")
    settings = Settings(**{**chosen, "mirror_axes": tuple(chosen["mirror_axes"])})
    if options.mode == "reference":
        from segkit.model import load_model
        from segkit.reference import Reference

        plan, network = load_model(folder)
        return Reference(plan, network, mirror_axes=settings.mirror_axes, leave_out=leave_out)
    engine = open_engine(folder, engine_name)
    return Segmenter(plan, engine, settings, leave_out=leave_out, profile=profile)


def parse_options() -> argparse.Namespace:
    """The command line; the image needs none of it."""
    tasks = sorted(json.loads((HERE / "tasks.json").read_text()))
    parser = argparse.ArgumentParser(description=__doc__)
    add_folder_options(parser)
    parser.add_argument("--task", choices=tasks, default=os.environ.get("TASK", "organs_tumour"))
    parser.add_argument("--weights", type=Path, help="another model folder with the labels of the task")
    parser.add_argument(
        "--mode", choices=["fast", "exact", "reference"], default="fast", help="see above; fast by default"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        type=setting,
        metavar="NAME=VALUE",
        help=f"engine=fastest, int8, bf16, f32 or torch; or one of {', '.join(setting_names())}",
    )
    options = parser.parse_args()
    if options.task not in tasks:  # argparse does not check a default
        parser.error(f"the variable TASK is {options.task!r}; it must be one of {', '.join(tasks)}")
    return options


def setting(text: str) -> tuple[str, object]:
    """One NAME=VALUE of the command line; a value that is no word is JSON."""
    name, separator, value = text.partition("=")
    if not separator or name not in ["engine", *setting_names()]:
        raise argparse.ArgumentTypeError(f"{text!r} is no setting; names are {', '.join(setting_names())}")
    return name, value if name in WORDS else json.loads(value)


def setting_names() -> list[str]:
    """The names of what can be set."""
    return [field.name for field in dataclasses.fields(Settings)]


if __name__ == "__main__":
    sys.exit(main())
