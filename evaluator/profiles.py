"""Rules of scoring, each a named option: `exact`, our default, and `flare`, the official scripts' own.

The facts about the official scripts are read from github.com/JunMa11/FLARE at commit aad2cc2.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from evaluator.errors import RequestError
from evaluator.volume import Casting


@dataclass(frozen=True, kw_only=True)
class Profile:
    """How counts and surfaces become scores.

    Attributes:
        name: What the score records call it.
        both_empty: DSC and NSD of a label that neither volume holds; NaN leaves it out of means.
        one_empty: DSC and NSD of a label that exactly one volume holds.
        checks_geometry: Compare the affines, reorient flips and axis swaps, refuse anything else. Without
            it, only the shapes must agree.
        takes_raw_zooms: Measure with the header's voxel sizes as if they were millimetres, whatever unit it
            names, as scripts do that ask nibabel for `get_zooms`.
        mends_spacing: Undo the rounding that NIfTI's float32 does to a spacing (0.8 is stored as
            0.800000012), where a surface distance is compared with the tolerance.
        reference_casting: How stored numbers of the reference become labels.
        prediction_casting: The same of the prediction.
        crops_slices: Score the labels marked `cropped_by_flare` only on the slices (third array axis) from
            the reference's first one to the one before its last.
        cropped_to_nothing: DSC and NSD where that leaves no slice; the official scripts crash there.
        least_dsc_for_nsd: A DSC below this makes the NSD 0.
        zero_above: A prediction that holds any larger value scores 0 on every label; `None` for no limit.
        decimals: Scores are rounded to this many places, as NumPy rounds; `None` for no rounding.
    """

    name: str
    both_empty: float = 1.0
    one_empty: float = 0.0
    checks_geometry: bool = True
    takes_raw_zooms: bool = False
    mends_spacing: bool = True
    reference_casting: Casting = "exact"
    prediction_casting: Casting = "exact"
    crops_slices: bool = False
    cropped_to_nothing: float = 0.0
    least_dsc_for_nsd: float = 0.0
    zero_above: int | None = None
    decimals: int | None = None

    def rounded(self, score: float) -> float:
        """Return a score with the profile's number of decimals."""
        if self.decimals is None or math.isnan(score):
            return score
        return float(np.round(np.float64(score), self.decimals))

    def compared_spacing(self, spacing_mm: tuple[float, float, float]) -> tuple[float, float, float]:
        """Return the spacing that surface distances are measured with."""
        if not self.mends_spacing:
            return spacing_mm
        x, y, z = (mended(size) for size in spacing_mm)
        return x, y, z


def mended(size_mm: float) -> float:
    """Return a voxel size rounded to 1e-5 mm, if float32 storage explains the difference; else unchanged.

    `0.800000012` (what float32 makes of 0.8) becomes 0.8. 0.9765625, which float32 holds exactly, stays.
    """
    rounded = round(size_mm, 5)
    is_storage_noise = abs(rounded - size_mm) <= 4 * float(np.spacing(np.float32(size_mm)))
    return rounded if is_storage_noise else size_mm


EXACT = Profile(name="exact")

_FLARE22 = Profile(
    name="flare",
    checks_geometry=False,
    takes_raw_zooms=True,
    mends_spacing=False,
    reference_casting="truncate",
    prediction_casting="truncate",
    crops_slices=True,
    least_dsc_for_nsd=0.2,
    decimals=4,
)

_FLARE = {
    # FLARE21 compares the prediction unconverted, crops nothing and rounds nothing.
    "flare21": replace(
        _FLARE22, prediction_casting="match", crops_slices=False, least_dsc_for_nsd=0.0, decimals=None
    ),
    "flare22": _FLARE22,
    "flare23": _FLARE22,
    "flare24-task1": replace(_FLARE22, crops_slices=False, zero_above=1),
    "flare24-task2": _FLARE22,
    "phantom": _FLARE22,
}

PROFILES: dict[str, Callable[[str], Profile]] = {
    "exact": lambda challenge: EXACT,
    "flare": lambda challenge: _FLARE.get(challenge, _FLARE22),
}
"""Profile names, each with a function from the challenge's name to its rules."""


def profile_named(name: str, challenge: str) -> Profile:
    """Return the rules of a profile for a challenge.

    Raises:
        RequestError: There is no such profile.
    """
    try:
        return PROFILES[name](challenge)
    except KeyError:
        raise RequestError(
            f"there is no profile {name!r}", mend=f"Choose one of {', '.join(PROFILES)}"
        ) from None
