"""What happens to one CT: read, find the body, run the student over it in tiles, write the label map.

settings.json names two ways of doing so. `fastest`: tiles from the middle outwards, the arg-max at the
network's resolution, 8-bit integers where the weights have such a form. `exact`: every tile in float32,
logits interpolated to the CT's grid.
"""

import argparse
import json
import os
import sys
from pathlib import Path

from segkit import Segmenter, Settings, load_plan
from segkit.cases import Method, add_folder_options, segment_folder
from segkit.engine import open_engine
from segkit.errors import PlanError
from segkit.profile import Profile

HERE = Path(__file__).resolve().parent
MODES = json.loads((HERE / "settings.json").read_text())
LEFT_OUT = {"organs_tumour": [], "organs": ["tumour"]}
"""By task, the labels that are never predicted; their voxels go to the runner-up."""


def main() -> int:
    """Segment every CT of the inputs folder."""
    options = parse_options()
    return segment_folder(
        options.inputs,
        options.outputs,
        lambda profile: load_student(options, profile),
        show_profile=options.profile,
    )


def load_student(options: argparse.Namespace, profile: Profile) -> Method:
    """The student, ready to run."""
    plan = load_plan(options.weights / "plans.json")
    missing = [name for name in LEFT_OUT[options.task] if name not in plan.labels]
    if missing:
        raise PlanError(f"{options.weights} has no label {missing[0]}, which the task leaves out.")
    chosen = dict(MODES[options.mode])
    if options.largest_parts:
        chosen["largest_parts"] = options.largest_parts == "yes"
    engine = open_engine(options.weights, chosen.pop("engine"))
    leave_out = [plan.labels.index(name) for name in LEFT_OUT[options.task]]
    return Segmenter(plan, engine, Settings(**chosen), leave_out=leave_out, profile=profile)


def parse_options() -> argparse.Namespace:
    """The command line; the image needs none of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add_folder_options(parser)
    parser.add_argument("--mode", choices=sorted(MODES), default=os.environ.get("MODE", "fastest"))
    parser.add_argument("--task", choices=sorted(LEFT_OUT), default=os.environ.get("TASK", "organs_tumour"))
    parser.add_argument(
        "--largest-parts", choices=["yes", "no"], help="keep one part of each organ (default: the mode's)"
    )
    parser.add_argument("--weights", type=Path, default=HERE / "weights", help="another model folder")
    options = parser.parse_args()
    for variable, value, known in (("MODE", options.mode, MODES), ("TASK", options.task, LEFT_OUT)):
        if value not in known:  # argparse does not check a default
            parser.error(
                f"the variable {variable} is {value!r}; it must be one of {', '.join(sorted(known))}"
            )
    return options


if __name__ == "__main__":
    sys.exit(main())
