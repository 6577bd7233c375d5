"""Agreement beyond one number: confusion, lesions, NSD over tolerance, and the volumes in the journals."""

from __future__ import annotations

import numpy as np
import pytest

from evaluator.labels import Label, LabelTable
from harness.report.agreement import TOLERANCES_MM, confusion_ml, find_lesions, nsd_curve
from harness.report.evidence import RunEvidence
from tests.unit.leaderboard.synthetic import Plan, make_run, write_run

TABLE = LabelTable("two", (Label(1, "liver", 2), Label(2, "kidney", 2)))


def volume(*boxes: tuple[int, slice]) -> np.ndarray:
    labels = np.zeros((20, 12, 8), np.uint8, order="F")
    for value, across in boxes:
        labels[across, 2:6, 2:6] = value
    return labels


def test_swapped_labels_are_off_the_diagonal_and_missed_volume_is_in_the_background():
    reference = volume((1, slice(0, 4)), (2, slice(6, 10)))
    prediction = volume((2, slice(0, 4)), (1, slice(6, 9)))
    confused = confusion_ml(reference, prediction, (1, 2), 0.5)
    assert confused[1, 2] == 4 * 16 * 0.5
    assert confused[2, 1] == 3 * 16 * 0.5
    assert confused[2, 0] == 16 * 0.5
    assert confused[1, 1] == confused[2, 2] == confused[0, 0] == 0


def lesions(reference: np.ndarray, prediction: np.ndarray):
    table = LabelTable("lesions", (Label(2, "tumour", 2),))
    return find_lesions(reference, prediction, table, (10.0, 10.0, 10.0), profile="exact")


def test_lesions_are_found_missed_and_invented_piece_by_piece():
    reference = volume((2, slice(0, 3)), (2, slice(6, 8)))
    prediction = volume((2, slice(2, 4)), (2, slice(14, 15)))
    pieces = lesions(reference, prediction)
    assert sorted((piece.ml, piece.met) for piece in pieces if piece.real) == [(32.0, False), (48.0, True)]
    assert [piece.ml for piece in pieces if not piece.real] == [16.0]


def test_a_lesion_without_any_prediction_is_missed_and_a_prediction_without_any_lesion_is_false():
    some = volume((2, slice(0, 3)))
    assert [(piece.real, piece.met) for piece in lesions(some, volume())] == [(True, False)]
    assert [(piece.real, piece.met) for piece in lesions(volume(), some)] == [(False, False)]


def test_no_lesion_anywhere_is_nothing():
    assert lesions(volume(), volume()) == ()


def test_nsd_grows_with_the_tolerance_to_one_when_surfaces_lie_within_it():
    reference, prediction = volume((1, slice(2, 8))), volume((1, slice(4, 10)))
    curve = nsd_curve(reference, prediction, TABLE, (1.0, 1.0, 1.0))
    assert len(curve) == len(TOLERANCES_MM)
    assert (np.diff(curve) >= 0).all()
    assert curve[0] < 0.8
    assert curve[TOLERANCES_MM.index(2.0)] == 1
    assert len(nsd_curve(reference, volume(), TABLE, (1.0, 1.0, 1.0))) == 0


def test_volumes_are_read_from_the_scores_of_the_profile_that_is_asked(tmp_path):
    run = make_run(Plan("team", dsc=0.9), cases=3)
    evidence = RunEvidence(write_run(run, tmp_path))
    volumes = evidence.volumes("exact")
    assert set(volumes) == {"case_000", "case_001", "case_002"}
    reference, prediction = volumes["case_000"][1]
    assert reference == 100
    assert prediction == pytest.approx(90, abs=12)
    assert evidence.volumes("another") == {}
