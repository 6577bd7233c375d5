"""What happens to one CT: nnU-Net's steps for every member of the bundle, averaged, without nnU-Net.

settings.json names the ways to run it. `fast`: the CT cropped to the body and resampled linearly, in 8-bit
integers where the weights have such a form. `exact`: as nnU-Net predicts, in float32. `mirrored`: that with
test-time mirroring. `v1`: folds averaged as nnU-Net v1 did, by their probabilities.
"""

import sys
from pathlib import Path

from segkit.nnunet.program import ensemble_main

if __name__ == "__main__":
    sys.exit(ensemble_main(Path(__file__).resolve().parent, about=__doc__))
