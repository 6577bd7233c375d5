"""Exact Dice, NSD and surface distances of whole multi-label cases: label volumes in, scores out.

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
    ReportedError,
    RequestError,
    VolumeTooLargeError,
)
from evaluator.labels import Label, LabelTable

if TYPE_CHECKING:
    from evaluator.case import release_memory, score_case
    from evaluator.folder import match_folders, score_folder, score_matches
    from evaluator.geometry import GeometryDiagnosis, compare_geometry
    from evaluator.header import VolumeHeader
    from evaluator.label_files import label_table_from_dict, label_table_from_file
    from evaluator.metrics import METRICS, EmptyRule, Metric, MetricFacts, metric_named
    from evaluator.profiles import Profile
    from evaluator.scores import CaseScore, LabelScore, frame_of
    from evaluator.scoring import Scoring
    from evaluator.shipped import LABEL_TABLES, PROFILES, label_table, profile_named
    from evaluator.volume import LabelVolume, read_header, read_label_volume

_LAZY = {
    "CaseScore": "evaluator.scores",
    "EmptyRule": "evaluator.metrics",
    "GeometryDiagnosis": "evaluator.geometry",
    "LABEL_TABLES": "evaluator.shipped",
    "LabelScore": "evaluator.scores",
    "LabelVolume": "evaluator.volume",
    "METRICS": "evaluator.metrics",
    "Metric": "evaluator.metrics",
    "MetricFacts": "evaluator.metrics",
    "PROFILES": "evaluator.shipped",
    "Profile": "evaluator.profiles",
    "Scoring": "evaluator.scoring",
    "VolumeHeader": "evaluator.header",
    "compare_geometry": "evaluator.geometry",
    "frame_of": "evaluator.scores",
    "label_table": "evaluator.shipped",
    "label_table_from_dict": "evaluator.label_files",
    "label_table_from_file": "evaluator.label_files",
    "match_folders": "evaluator.folder",
    "metric_named": "evaluator.metrics",
    "profile_named": "evaluator.shipped",
    "read_header": "evaluator.volume",
    "read_label_volume": "evaluator.volume",
    "release_memory": "evaluator.case",
    "score_case": "evaluator.case",
    "score_folder": "evaluator.folder",
    "score_matches": "evaluator.folder",
}

__all__ = [
    "LABEL_TABLES",
    "METRICS",
    "PROFILES",
    "CaseScore",
    "CorruptVolumeError",
    "EmptyRule",
    "EvaluatorError",
    "GeometryDiagnosis",
    "GeometryError",
    "Label",
    "LabelScore",
    "LabelTable",
    "LabelValueError",
    "LabelVolume",
    "Metric",
    "MetricFacts",
    "MissingFileError",
    "Profile",
    "ReportedError",
    "RequestError",
    "Scoring",
    "VolumeHeader",
    "VolumeTooLargeError",
    "__version__",
    "compare_geometry",
    "frame_of",
    "label_table",
    "label_table_from_dict",
    "label_table_from_file",
    "match_folders",
    "metric_named",
    "profile_named",
    "read_header",
    "read_label_volume",
    "release_memory",
    "score_case",
    "score_folder",
    "score_matches",
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
