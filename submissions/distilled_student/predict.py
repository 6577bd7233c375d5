"""What happens to one CT: read, find the body, run the student over it in tiles, write the label map.

settings.json names the tasks and two ways to run them. `fast`: tiles from the middle outwards, the arg-max at
the network's resolution, 8-bit integers where the weights have such a form. `exact`: every tile in float32,
logits interpolated to the CT's grid.
"""

import sys
from pathlib import Path

from segkit import Segmenter, Settings, load_plan
from segkit.cases import Method
from segkit.engine import open_engine
from segkit.method import Choice, predict_main
from segkit.profile import Profile


def load_student(choice: Choice[Settings], profile: Profile) -> Method:
    """The student, ready to run."""
    plan = load_plan(choice.weights / "plans.json")
    leave_out = choice.left_out_of(plan.labels)
    engine = open_engine(choice.weights, choice.engine)
    return Segmenter(plan, engine, choice.settings, leave_out=leave_out, profile=profile)


if __name__ == "__main__":
    sys.exit(predict_main(Path(__file__).resolve().parent, load_student, Settings, about=__doc__))
