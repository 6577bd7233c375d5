"""What happens to one CT: read, find the body, run the U-Net over it in tiles, write the label map.

settings.json names the tasks and three ways to run them. `fast`: few tiles, in 8-bit integers where the
weights have such a form. `exact`: the model's own tiles, half overlapping, in float32. `reference`: what
nnU-Net does, step by step, in torch.
"""

import sys
from pathlib import Path

from segkit import Segmenter, Settings, load_plan
from segkit.cases import Method
from segkit.engine import open_engine
from segkit.method import Choice, predict_main
from segkit.profile import Profile


def load_unet(choice: Choice[Settings], profile: Profile) -> Method:
    """The model of a task, ready to run."""
    plan = load_plan(choice.weights / "plans.json")
    leave_out = choice.left_out_of(plan.labels)
    if choice.engine == "reference":
        from segkit.model import load_model
        from segkit.reference import Reference

        plan, network = load_model(choice.weights)
        return Reference(plan, network, mirror_axes=choice.settings.mirror_axes, leave_out=leave_out)
    engine = open_engine(choice.weights, choice.engine)
    return Segmenter(plan, engine, choice.settings, leave_out=leave_out, profile=profile)


if __name__ == "__main__":
    sys.exit(predict_main(Path(__file__).resolve().parent, load_unet, Settings, about=__doc__))
