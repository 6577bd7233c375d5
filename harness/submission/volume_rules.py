"""The rules of lint about medical volumes in an image: labels must not be there, others need a reason."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from harness.submission.findings import Finding

_LABEL_PATH = re.compile(
    r"(^|/)[^/]*(labels?|ground.?truth|annotations?|masks?|(?<![a-z])gt(?![a-z]))[^/]*(/|\.(nii|mha|mhd|nrrd|npz))",
    re.IGNORECASE,
)
_MOST_NAMED = 3


def about_medical_volumes(volumes: Sequence[str]) -> Iterator[Finding]:
    """Yield what there is to say about the medical volumes of all layers."""
    labels = [path for path in volumes if _LABEL_PATH.search(path)]
    others = [path for path in volumes if path not in set(labels)]
    if labels:
        yield Finding(
            "error",
            "labels",
            f"layers of the image hold {len(labels)} file(s) that look like labels: {_some(labels)}",
            "Leave data sets out of the build context; a later layer that deletes them keeps them.",
        )
    if others:
        yield Finding(
            "warning",
            "images",
            f"layers of the image hold {len(others)} medical volume(s): {_some(others)}",
            "Leave data sets out of the build context.",
        )


def _some(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - _MOST_NAMED} more" if len(paths) > _MOST_NAMED else ""
    return f"{', '.join(paths[:_MOST_NAMED])}{more}"
