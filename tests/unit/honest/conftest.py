"""A folder with a data set and predictions, and both command lines to try on it."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from headers import by_nibabel, scan, two_organs
from numpy.typing import NDArray

from evaluator.__main__ import main as evaluator_main
from harness.cli.app import run as harness_main


def errors_in(said: str) -> int:
    """Return how many lines are a command's own error."""
    return sum(line.startswith(("harness: ", "error: ")) for line in said.splitlines())


@dataclass(frozen=True)
class Answer:
    """What a command said and stored.

    Attributes:
        said: Standard output and error, and every note and piece of evidence that was stored.
        outcomes: By case, where the harness ran.
        scores: DSC and NSD by case and label.
    """

    exit_code: int
    said: str
    outcomes: dict[str, str] = field(default_factory=dict)
    scores: dict[tuple[str, int], tuple[float, float]] = field(default_factory=dict)

    def is_perfect(self, *cases: str) -> bool:
        """Whether these cases were taken and every voxel of labels 1 and 3 counts."""
        return self.exit_code == 0 and all(
            self.scores[case, label] == (1.0, 1.0) and self.outcomes.get(case, "succeeded") == "succeeded"
            for case in cases or ("a",)
            for label in (1, 3)
        )

    def says(self, *words: str) -> bool:
        """Whether one of the words was said."""
        return any(word.lower() in self.said.lower() for word in words)

    def refuses(self, *words: str, case: str = "a") -> bool:
        """Whether the prediction was refused, in one of these words."""
        return self.outcomes.get(case) == "invalid_output" and self.says(*words)

    def stops(self, *words: str) -> bool:
        """Whether the command ended before anything was scored, with one line in one of these words."""
        return self.exit_code == 2 and not self.scores and errors_in(self.said) == 1 and self.says(*words)


@dataclass(frozen=True)
class Desk:
    """Folders `data`, `labels` and `predictions` below one folder, and the commands that read them."""

    folder: Path
    capture: Callable[[], Any]

    def image(self, case: str = "a") -> Path:
        return self.folder / f"data/imagesVal/{case}_0000.nii.gz"

    def label(self, case: str = "a") -> Path:
        return self.folder / f"data/labelsVal/{case}.nii.gz"

    def reference(self, case: str = "a") -> Path:
        """The reference for the evaluator alone, which sees no image."""
        return self.folder / f"labels/{case}.nii.gz"

    def prediction(self, case: str = "a", suffix: str = ".nii.gz") -> Path:
        return self.folder / f"predictions/{case}{suffix}"

    def plain(self, *cases: str) -> None:
        """Write images and references on one upright grid."""
        for case in cases or ("a",):
            by_nibabel(self.image(case), scan())
            by_nibabel(self.label(case), two_organs())

    def predict(self, array: NDArray | None = None, **more: Any) -> Path:
        """Write a prediction of case a; a perfect one by default."""
        return by_nibabel(self.prediction(), two_organs() if array is None else array, **more)

    def describe(self, **content: Any) -> None:
        """Write dataset.json."""
        (self.folder / "data/dataset.json").write_text(json.dumps({"name": "desk", **content}))

    def check(self, data: str = "data") -> Answer:
        """`harness data check`."""
        return self._harness("data", "check", str(self.folder / data))

    def score(self, *more: str) -> Answer:
        """`harness score`: gate, records, scores."""
        results = self.folder / "results"
        return self._harness(
            "score",
            str(self.folder / "predictions"),
            *("--data", str(self.folder / "data"), "--results", str(results), "--team", "team", *more),
        )

    def evaluate(self, *more: str) -> Answer:
        """`harness evaluate` of submissions/copycat, without any container."""
        return self._harness(
            "evaluate",
            "copycat",
            *("--engine", "process", "--submissions", str(self.folder / "submissions")),
            *("--data", str(self.folder / "data"), "--results", str(self.folder / "results"), *more),
        )

    def evaluator(self, *more: str, challenge: str = "phantom") -> Answer:
        """`python -m evaluator`, with rows of case, label, metrics."""
        table = self.folder / "table.csv"
        arguments = [str(self.folder / "labels"), str(self.folder / "predictions"), "--challenge", challenge]
        code = evaluator_main([*arguments, "--output", str(table), *more])
        shown = self.capture()
        scores, notes = {}, ""
        if table.exists():
            with table.open(newline="", encoding="utf-8") as file:
                for row in csv.DictReader(file):
                    if row["label"].isdigit() and row["dsc"]:
                        scores[row["case"], int(row["label"])] = (float(row["dsc"]), float(row["nsd"]))
                    notes += " ".join(str(value) for value in row.values())
        return Answer(code, shown.out + shown.err + notes, {}, scores)

    def submit(self, script: str, **files: bytes) -> None:
        """Write the submission copycat with this predict.sh."""
        target = self.folder / "submissions/copycat"
        target.mkdir(parents=True, exist_ok=True)
        (target / "submission.toml").write_text('name = "copycat"\n')
        (target / "predict.sh").write_text(script)
        for name, content in files.items():
            (target / name).write_bytes(content)

    def _harness(self, *arguments: str) -> Answer:
        code = harness_main(arguments)
        shown = self.capture()
        outcomes, scores, notes = {}, {}, ""
        for path in self.folder.glob("results/*/*/*/*.jsonl"):
            for line in path.read_text(encoding="utf-8").splitlines():
                record, notes = json.loads(line), notes + line
                if path.name == "cases.jsonl":
                    outcomes[record["case"]] = record["outcome"]
                else:
                    for label in record["scores"]:
                        scores[record["case"], label["label"]] = (label["dsc"], label["nsd"])
        return Answer(code, shown.out + shown.err + notes, outcomes, scores)


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    """An empty desk."""
    return Desk(tmp_path, capsys.readouterr)
