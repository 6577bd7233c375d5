"""Large volumes are scored in a child whose memory is bounded."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from evaluator import GeometryError, Scoring, score_case
from harness.challenge import load_challenge
from harness.errors import InfrastructureError
from harness.scoring import child
from harness.scoring.child import score_apart

SHAPE = (40, 40, 40)
SCORING = Scoring(load_challenge("phantom").labels)


def write(path: Path, array: np.ndarray, spacing: float = 1.0) -> Path:
    nibabel.save(nibabel.Nifti1Image(array, np.diag([spacing, 1.0, 1.0, 1.0])), path)
    return path


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    labels = np.zeros(SHAPE, np.uint8)
    labels[5:20, 5:20, 5:20] = 1
    return write(tmp_path / "reference.nii.gz", labels)


@pytest.fixture
def finest(tmp_path: Path) -> Path:
    """A label map in which no voxel is like its neighbours."""
    return write(tmp_path / "finest.nii.gz", (np.indices(SHAPE).sum(axis=0) % 14 + 1).astype(np.uint8))


def test_scores_are_those_of_the_evaluator(reference: Path, finest: Path) -> None:
    for prediction in (reference, finest, None):
        here = score_case(reference, prediction, SCORING)
        assert repr(score_apart(reference, prediction, SCORING, voxels=64_000)) == repr(here)


def test_errors_come_back_as_what_they_are(reference: Path, tmp_path: Path) -> None:
    elsewhere = write(tmp_path / "elsewhere.nii.gz", np.zeros(SHAPE, np.uint8), spacing=2.0)
    with pytest.raises(GeometryError, match="grid"):
        score_apart(reference, elsewhere, SCORING, voxels=64_000)
    assert score_apart(reference, reference, SCORING, voxels=64_000).labels


def test_what_takes_more_than_its_bound_is_refused_and_harms_nobody(
    reference: Path, finest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    score_apart(reference, reference, SCORING, voxels=64_000)
    with monkeypatch.context() as less, pytest.raises(MemoryError, match="scoring takes more than 1 MiB"):
        less.setattr(child, "BASE_BYTES", 0)
        less.setattr(child, "_LOOK_EVERY_S", 0.0)
        score_apart(reference, finest, SCORING, voxels=64_000)
    assert score_apart(reference, finest, SCORING, voxels=64_000).labels


def test_a_child_that_is_killed_is_the_hosts_failure_and_replaced(
    reference: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    score_apart(reference, reference, SCORING, voxels=64_000)
    process = child._CHILD._process
    assert process is not None
    with monkeypatch.context() as dying:
        dying.setattr(process, "poll", lambda: None)
        process.kill()
        with pytest.raises(InfrastructureError, match="was killed"):
            score_apart(reference, reference, SCORING, voxels=64_000)
    assert score_apart(reference, reference, SCORING, voxels=64_000).labels


def test_an_error_that_nobody_foresaw_is_told_as_what_it_is(reference: Path) -> None:
    with pytest.raises(InfrastructureError, match=r"the evaluator failed: TypeError: .*unheard_of"):
        score_apart(reference, reference, SCORING, voxels=64_000, unheard_of=1)
    process = child._CHILD._process
    assert process is not None
    assert score_apart(reference, reference, SCORING, voxels=64_000).labels
    assert child._CHILD._process is process  # it goes on
