"""Submission folders as processes over a data set of two tiny cases, for tests without an engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from harness.challenge import Challenge, Limits, load_challenge
from harness.data.dataset import Dataset, open_dataset
from harness.engine.process import ProcessEngine
from harness.results.folder import RunResults
from harness.results.observer import Observer
from harness.results.records import Outcome
from harness.run.evaluate import evaluate
from harness.run.request import EvaluationRequest

SHAPE = (9, 8, 7)
AFFINE = np.diag([0.8, 0.9, 2.5, 1.0])
GOOD = """
in=$(ls "$FLARE_INPUTS")
cp "$PWD/good.nii.gz" "$FLARE_OUTPUTS/${in%_0000.nii.gz}.nii.gz"
"""
MIB = 1024**2


def labels() -> np.ndarray:
    array = np.zeros(SHAPE, np.uint8)
    array[1:5, 2:6, 1:4] = 1
    return array


def write(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, AFFINE), path)
    return path


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    for name in ("a", "b"):
        write(tmp_path / "data" / "imagesVal" / f"{name}_0000.nii.gz", np.zeros(SHAPE, np.int16))
        write(tmp_path / "data" / "labelsVal" / f"{name}.nii.gz", labels())
    return open_dataset(tmp_path / "data")


@pytest.fixture
def challenge() -> Challenge:
    return load_challenge("phantom")


@pytest.fixture
def request_for(tmp_path: Path, dataset: Dataset, challenge: Challenge) -> Callable[..., EvaluationRequest]:
    """Make the request to evaluate a script as a submission folder."""

    def make(script: str = GOOD, **limits: float) -> EvaluationRequest:
        folder = tmp_path / "submission"
        folder.mkdir(exist_ok=True)
        (folder / "predict.sh").write_text(script)
        write(folder / "good.nii.gz", labels())
        given: dict[str, float] = {"memory_bytes": 512 * MIB, "time_s": 20.0, "output_bytes": 64 * MIB}
        return EvaluationRequest(
            team="team",
            image=str(folder),
            challenge=challenge,
            dataset=dataset,
            results=tmp_path / "results",
            limits=Limits.model_validate(given | limits),
            cache=tmp_path / "cache",
        )

    return make


def run(request: EvaluationRequest, observer: Observer | None = None) -> RunResults:
    return evaluate(request, engine=ProcessEngine(), observer=observer)


def outcomes(results: RunResults) -> set[Outcome]:
    return {execution.outcome for execution in results.final_executions().values()}
