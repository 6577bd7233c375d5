"""One judgement of outputs, wherever they come from."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
import pytest

from harness.gate.keeper import Gatekeeper
from harness.gate.output import Output, Verdict, judge_output
from harness.results.records import Outcome

SHAPE = (5, 4, 3)


@pytest.fixture(scope="module")
def gatekeeper() -> Iterator[Gatekeeper]:
    with Gatekeeper([1]) as keeper:
        yield keeper


def judged(tmp_path: Path, gatekeeper: Gatekeeper, **output: bool) -> Verdict:
    nibabel.save(nibabel.Nifti1Image(np.zeros(SHAPE, np.int16), np.eye(4)), tmp_path / "ct.nii.gz")
    (tmp_path / "run" / "cases" / "a").mkdir(parents=True)
    return judge_output(
        Output(tmp_path, "a.nii.gz", 1 << 20, **output),
        reference=tmp_path / "ct.nii.gz",
        gatekeeper=gatekeeper,
        run_folder=tmp_path / "run",
        keep_as="cases/a/prediction.nii.gz",
    )


def save(tmp_path: Path, shape: tuple[int, ...] = SHAPE) -> None:
    nibabel.save(nibabel.Nifti1Image(np.ones(shape, np.uint8), np.eye(4)), tmp_path / "a.nii.gz")


def test_a_good_file_is_copied_and_its_hash_kept(tmp_path: Path, gatekeeper: Gatekeeper) -> None:
    save(tmp_path)
    verdict = judged(tmp_path, gatekeeper)
    assert verdict.outcome is Outcome.SUCCEEDED
    assert verdict.prediction is not None
    kept = tmp_path / "run" / verdict.prediction.path
    assert kept.read_bytes() == (tmp_path / "a.nii.gz").read_bytes()


def test_nothing_there_is_no_output(tmp_path: Path, gatekeeper: Gatekeeper) -> None:
    verdict = judged(tmp_path, gatekeeper)
    assert (verdict.outcome, verdict.prediction) == (Outcome.NO_OUTPUT, None)


def test_nothing_stays_of_what_the_gate_refuses(tmp_path: Path, gatekeeper: Gatekeeper) -> None:
    save(tmp_path, (4, 4, 3))
    verdict = judged(tmp_path, gatekeeper)
    assert verdict.outcome is Outcome.INVALID_OUTPUT
    assert "grid" in verdict.evidence.summary
    assert list((tmp_path / "run" / "cases" / "a").iterdir()) == []


@pytest.mark.parametrize(("allowed", "outcome"), [(False, Outcome.INVALID_OUTPUT), (True, Outcome.SUCCEEDED)])
def test_hard_links_count_only_where_no_container_wrote(
    tmp_path: Path, gatekeeper: Gatekeeper, allowed: bool, outcome: Outcome
) -> None:
    save(tmp_path)
    os.link(tmp_path / "a.nii.gz", tmp_path / "b.nii.gz")
    assert judged(tmp_path, gatekeeper, hard_links=allowed).outcome is outcome
