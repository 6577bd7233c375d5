"""What a run's journals tell of single cases: each file is read once, when something of it is asked."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cached_property
from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from harness.results.journal import CASES_FILE, SCORES_FILE, complete_lines, damaged
from harness.results.records import ExecutionRecord


class _Named(TypedDict):
    case: str


class _Label(TypedDict):
    label: int
    reference_ml: float | None
    prediction_ml: float | None


class _Score(TypedDict):
    case: str
    profile: str
    scores: list[_Label]


_NAMED = TypeAdapter(_Named)
_SCORE = TypeAdapter(_Score)

Volumes = Mapping[str, Mapping[int, tuple[float, float]]]
"""By case and label value: the volume in the reference and in the prediction, in ml."""


class RunEvidence:
    """The journals of one run; a file is opened when something of it is first asked, and once.

    Args:
        folder: The run's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._records: dict[str, ExecutionRecord] = {}

    @cached_property
    def _lines(self) -> dict[str, bytes]:
        path = self.folder / CASES_FILE
        try:
            return {_NAMED.validate_json(line)["case"]: line for line in complete_lines(path)}
        except ValidationError as error:
            raise damaged(path, error) from error

    def execution(self, case: str) -> ExecutionRecord | None:
        """Return the last record of a case; None if it has none.

        Raises:
            InfrastructureError: a line is damaged.
        """
        if case not in self._records:
            line = self._lines.get(case)
            if line is None:
                return None
            try:
                self._records[case] = ExecutionRecord.model_validate_json(line)
            except ValidationError as error:
                raise damaged(self.folder / CASES_FILE, error) from error
        return self._records[case]

    def executions(self, cases: Collection[str]) -> dict[str, ExecutionRecord]:
        """Return the last record of each of these cases that has one; see `execution`."""
        found = {case: self.execution(case) for case in cases}
        return {case: record for case, record in found.items() if record is not None}

    def prediction(self, case: str) -> Path | None:
        """Return the file of a case's last prediction; None where there is none."""
        record = self.execution(case)
        if record is None or record.prediction is None:
            return None
        path = self.folder / record.prediction.path
        return path if path.is_file() else None

    def volumes(self, profile: str) -> Volumes:
        """Return every label's volumes in each case as they were scored last under a profile.

        Raises:
            InfrastructureError: a line is damaged.
        """
        path = self.folder / SCORES_FILE
        volumes: dict[str, dict[int, tuple[float, float]]] = {}
        try:
            for line in complete_lines(path):
                score = _SCORE.validate_json(line)
                if score["profile"] == profile:
                    volumes[score["case"]] = _both(score["scores"])
        except ValidationError as error:
            raise damaged(path, error) from error
        return volumes


def _both(labels: list[_Label]) -> dict[int, tuple[float, float]]:
    return {
        label["label"]: (label["reference_ml"], label["prediction_ml"])
        for label in labels
        if label["reference_ml"] is not None and label["prediction_ml"] is not None
    }
