"""Pictures of the worst cases."""

from __future__ import annotations

import base64
import re

import imagecodecs
import numpy as np
import pytest

from harness.challenge import load_challenge
from harness.data.dataset import Dataset
from harness.report import write_report
from harness.report.volumes import read_case
from harness.results.records import Outcome
from tests.unit.leaderboard.synthetic import Plan, Results, build, make_run, write_run
from tests.unit.report.volumes import make_dataset, shifted

PHANTOM = load_challenge("phantom")
CASES = 5


@pytest.fixture
def dataset(tmp_path) -> Dataset:
    return make_dataset(tmp_path / "data", [f"case_{index:03d}" for index in range(CASES)])


def run_with_predictions(tmp_path, plan: Plan, dataset: Dataset) -> Results:
    run = make_run(plan, cases=CASES, folder=tmp_path / "results" / "phantom")
    write_run(run, tmp_path / "results")
    for execution in run.executions:
        if execution.prediction is not None:
            label = next(case.label for case in dataset.cases if case.id == execution.case)
            shifted(label, run.folder / execution.prediction.path, 3)
    return run


def written(tmp_path, runs, dataset, **more):
    board = build(runs, challenge=PHANTOM, bootstrap_samples=10)
    index = write_report(board, tmp_path / "report", dataset=dataset, **more)
    return index.read_text(), next(index.parent.glob("submissions/*.html")).read_text()


def test_worst_cases_are_shown_as_three_slices_with_both_contours(tmp_path, dataset):
    run = run_with_predictions(tmp_path, Plan("team"), dataset)
    index, page = written(tmp_path, [run], dataset)
    assert index.count('class="picture"') == 1
    assert page.count('class="picture"') == 3
    # Two labels in the axial and coronal slices of each case, and one or two in the sagittal one.
    assert 9 < page.count("contour reference") <= 18
    assert 9 < page.count("contour prediction") <= 18
    worst = re.findall(r'<th class="team" scope="row"><a [^>]*>(case_\d+)<', page)[:3]
    shown = re.findall(r"<p><a [^>]*>(case_\d+)</a>: mean", page)
    assert shown == worst


def test_slices_are_real_pictures_in_the_soft_tissue_window(tmp_path, dataset):
    run = run_with_predictions(tmp_path, Plan("team"), dataset)
    _, page = written(tmp_path, [run], dataset)
    data = re.search(r"data:image/webp;base64,([^\"]+)", page).group(1)
    picture = imagecodecs.webp_decode(base64.b64decode(data))
    assert picture.ndim == 3
    assert picture.min() < 20
    assert picture.max() > 120


@pytest.mark.parametrize("axes", ["RAS", "LPS", "LAI"])
def test_the_patients_right_is_at_the_left_however_the_volume_is_stored(tmp_path, axes):
    """Organ 1 is at the low end of the first axis, organ 2 at the high end."""
    data = make_dataset(tmp_path / "data", ["case"], axes=axes)
    case = read_case(data.cases[0].image, (data.cases[0].label,), (1, 2))
    ct, reference = case.image, case.reference
    assert ct.shape == reference.shape == (40, 32, 12)
    first, second = (np.argwhere(reference == value)[:, 0].mean() for value in (1, 2))
    assert (first < second) == (axes[0] == "R")
    cut = np.flip(reference[:, :, 6].T, axis=(0, 1))
    columns = [np.argwhere(cut == value)[:, 1].mean() for value in (1, 2)]
    assert (columns[0] > columns[1]) == (axes[0] == "R")


def test_a_failed_case_has_no_picture_and_breaks_nothing(tmp_path, dataset):
    run = run_with_predictions(
        tmp_path, Plan("team", outcomes=dict.fromkeys(range(CASES), Outcome.CRASHED)), dataset
    )
    index, page = written(tmp_path, [run], dataset)
    assert 'class="picture"' not in index + page


def test_damaged_or_missing_predictions_are_left_out(tmp_path, dataset):
    run = run_with_predictions(tmp_path, Plan("team"), dataset)
    paths = [run.folder / execution.prediction.path for execution in run.executions]
    for path in paths[1:]:
        path.write_bytes(b"no volume")
    _, page = written(tmp_path, [run], dataset)
    assert page.count('class="picture"') <= 1


def test_a_participant_sees_no_pictures(tmp_path, dataset):
    run = run_with_predictions(tmp_path, Plan("team"), dataset)
    index, page = written(tmp_path, [run], dataset, view="participant")
    assert "data:image/webp" not in index + page
