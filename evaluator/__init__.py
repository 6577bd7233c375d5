"""Exact Dice and NSD for whole multi-label cases: label volumes in, scores out.

    from evaluator import LABEL_TABLES, score_case
    score = score_case("labels/a.nii.gz", "predictions/a.nii.gz", labels=LABEL_TABLES["flare22"])

or, for folders, `python -m evaluator LABELS PREDICTIONS --challenge flare22 --output scores.csv`.
Importing this package is cheap: the compiled kernels and the readers are loaded when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from evaluator._version import __version__
from evaluator.errors import (
    CorruptVolumeError,
    EvaluatorError,
    GeometryError,
    LabelValueError,
    MissingFileError,
    RequestError,
    VolumeTooLargeError,
)
from evaluator.labels import LABEL_TABLES, Label, LabelTable, label_table

if TYPE_CHECKING:
    from evaluator.case import release_memory, score_case
    from evaluator.folder import score_folder
    from evaluator.geometry import GeometryDiagnosis, compare_geometry
    from evaluator.header import VolumeHeader
    from evaluator.profiles import PROFILES, Profile, profile_named
    from evaluator.scores import CaseScore, LabelScore
    from evaluator.volume import LabelVolume, read_header, read_label_volume

_LAZY = {
    "CaseScore": "evaluator.scores",
    "GeometryDiagnosis": "evaluator.geometry",
    "LabelScore": "evaluator.scores",
    "LabelVolume": "evaluator.volume",
    "PROFILES": "evaluator.profiles",
    "Profile": "evaluator.profiles",
    "VolumeHeader": "evaluator.header",
    "compare_geometry": "evaluator.geometry",
    "profile_named": "evaluator.profiles",
    "read_header": "evaluator.volume",
    "read_label_volume": "evaluator.volume",
    "release_memory": "evaluator.case",
    "score_case": "evaluator.case",
    "score_folder": "evaluator.folder",
}

__all__ = [
    "LABEL_TABLES",
    "PROFILES",
    "CaseScore",
    "CorruptVolumeError",
    "EvaluatorError",
    "GeometryDiagnosis",
    "GeometryError",
    "Label",
    "LabelScore",
    "LabelTable",
    "LabelValueError",
    "LabelVolume",
    "MissingFileError",
    "Profile",
    "RequestError",
    "VolumeHeader",
    "VolumeTooLargeError",
    "__version__",
    "compare_geometry",
    "label_table",
    "profile_named",
    "read_header",
    "read_label_volume",
    "release_memory",
    "score_case",
    "score_folder",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'evaluator' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
