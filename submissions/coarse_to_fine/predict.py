"""What happens to one CT: find the abdomen, look for tumours and organs in its box, write the label map.

All networks run in OpenVINO as compiled when the image was built, or in torch where there is a GPU or no
OpenVINO. settings.json names three ways to run them: `fast`; `exact`, with tiles half overlapping in float32;
and `published`, which averages probabilities as the source does.
"""

import sys
from pathlib import Path

from coarse_to_fine.model import open_models
from coarse_to_fine.pipeline import TUMOUR, CoarseToFine, CoarseToFineSettings
from coarse_to_fine.plan import load_plan
from segkit.method import Choice, predict_main
from segkit.profile import Profile


def load_models(choice: Choice[CoarseToFineSettings], profile: Profile) -> CoarseToFine:
    """The models of a task, ready to run; without the tumour where the task leaves it out."""
    plan = load_plan(choice.weights)
    names = [name for name in plan.models if name not in plan.tumours or TUMOUR not in choice.leave_out]
    models = open_models(choice.weights, plan, names, choice.engine)
    return CoarseToFine(plan, models, settings=choice.settings, profile=profile)


if __name__ == "__main__":
    sys.exit(predict_main(Path(__file__).resolve().parent, load_models, CoarseToFineSettings, about=__doc__))
