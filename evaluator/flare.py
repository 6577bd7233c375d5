"""Everything that is only FLARE's: labels, tolerances, the official scripts' rules and their columns.

The facts about the official scripts are read from github.com/JunMa11/FLARE at commit aad2cc2. The phantom
challenge, which is the project's own, has FLARE's organs and tumour, and so its rules.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from evaluator.labels import Label, LabelTable
from evaluator.profiles import Profile, rounded
from evaluator.scores import CaseScore

_ORGANS = tuple(
    Label(value, name, tolerance_mm, "organs", column=column)
    for value, name, tolerance_mm, column in (
        (1, "liver", 5, "Liver"),
        (2, "right kidney", 3, "RK"),
        (3, "spleen", 3, "Spleen"),
        (4, "pancreas", 5, "Pancreas"),
        (5, "aorta", 2, "Aorta"),
        (6, "inferior vena cava", 2, "IVC"),
        (7, "right adrenal gland", 2, "RAG"),
        (8, "left adrenal gland", 2, "LAG"),
        (9, "gallbladder", 2, "Gallbladder"),
        (10, "esophagus", 3, "Esophagus"),
        (11, "stomach", 5, "Stomach"),
        (12, "duodenum", 7, "Duodenum"),
        (13, "left kidney", 3, "LK"),
    )
)
_CROPPED = frozenset({5, 6, 10})
_LESION = "Lesion"
_TUMOR = Label(14, "tumour", 2, "tumour", column=_LESION)

TABLES = {
    table.name: table
    for table in (
        LabelTable(
            "flare21",
            tuple(
                Label(value, name, 1, "organs", column=str(value))
                for value, name in enumerate(("liver", "kidney", "spleen", "pancreas"), start=1)
            ),
        ),
        LabelTable("flare22", _ORGANS),
        LabelTable("flare23", (*_ORGANS, _TUMOR)),
        LabelTable("flare24-task1", (Label(1, "lesion", 2, "tumour", column=_LESION),)),
        LabelTable("flare24-task2", _ORGANS),
        LabelTable("phantom", (*_ORGANS, _TUMOR)),
    )
}
"""The label tables by challenge, after the public scoring scripts of the organisers."""

_ANY = Profile(
    name="flare",
    checks_geometry=False,
    takes_raw_zooms=True,
    mends_spacing=False,
    reference_casting="truncate",
    prediction_casting="truncate",
    least_dsc_for_nsd=0.2,
    decimals=4,
)
_ABDOMEN = replace(_ANY, cropped_labels=_CROPPED)

_PROFILES = {
    # FLARE21 compares the prediction unconverted, crops nothing and rounds nothing.
    "flare21": replace(_ANY, prediction_casting="match", least_dsc_for_nsd=0.0, decimals=None),
    "flare22": _ABDOMEN,
    "flare23": _ABDOMEN,
    "flare24-task1": replace(_ANY, zero_above=1),
    "flare24-task2": _ABDOMEN,
    "phantom": _ABDOMEN,
}

_FLARE23_BEFORE = "flare23-before-2024-03"
PROFILE_NAMES = ("flare21", "flare22", "flare23", _FLARE23_BEFORE, "flare24-task1", "flare24-task2")
"""Names of profiles that hold whatever the labels are called."""

_DECIMALS = 4


def named_profile(name: str, challenge: str) -> Profile:
    """Return the rules of one official script.

    Until 2024-03-18 (commit c35311e), FLARE23's made NSD 0 below a DSC of 0.1, since then below 0.2.

    Args:
        name: One of `PROFILE_NAMES`.
        challenge: The label table's name, which does not matter.
    """
    if name == _FLARE23_BEFORE:
        return replace(_ABDOMEN, name=name, least_dsc_for_nsd=0.1)
    return replace(_PROFILES[name], name=name)


def profile(challenge: str) -> Profile:
    """Return the official script's rules; for another challenge, FLARE22's without its crop."""
    return _PROFILES.get(challenge, _ANY)


def columns(labels: LabelTable) -> list[str]:
    """Return the columns of the official score table of a challenge.

    FLARE21 writes DSC and NSD of a label side by side, the later ones all DSC before all NSD. Where organs
    and a tumor are scored together (FLARE23), the means over the organs follow.
    """
    if labels.name == "flare21":
        return ["Name", *(f"{metric}_{label.column}" for label in labels for metric in ("DSC", "NSD-1mm"))]
    names = [f"{label.column}_{metric}" for metric in ("DSC", "NSD") for label in labels]
    return ["Name", *names, *(("Organ_DSC", "Organ_NSD") if _has_organ_means(labels) else ())]


def row(score: CaseScore, labels: LabelTable) -> list[str | float]:
    """Return one case in the order of `columns`; labels that were not scored are NaN."""
    known = {label.label: label for label in score.labels}

    def of(metric: str, label: Label) -> float:
        return known[label.value].scores.get(metric, math.nan) if label.value in known else math.nan

    name = f"{score.case}.nii.gz"
    if labels.name == "flare21":
        return [name, *(of(metric, label) for label in labels for metric in ("dsc", "nsd"))]
    values = [rounded(of(metric, label), _DECIMALS) for metric in ("dsc", "nsd") for label in labels]
    if _has_organ_means(labels):
        organs = [label for label in labels if label.column != _LESION]
        for metric in ("dsc", "nsd"):
            values.append(_mean([rounded(of(metric, label), _DECIMALS) for label in organs]))
    return [name, *values]


def _has_organ_means(labels: LabelTable) -> bool:
    return len(labels) > 1 and any(label.column == _LESION for label in labels)


def _mean(values: Sequence[float]) -> float:
    import numpy as np

    known = [value for value in values if not math.isnan(value)]
    return rounded(float(np.mean(known)), _DECIMALS) if known else math.nan
