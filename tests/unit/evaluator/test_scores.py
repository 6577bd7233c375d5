"""Records, profiles, tables and the small machinery around them."""

from __future__ import annotations

import io
import json
import math
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import oracles
import pytest
from volumes import box, save, table, volume

from evaluator import (
    LABEL_TABLES,
    METRICS,
    CaseScore,
    EmptyRule,
    LabelValueError,
    LabelVolume,
    Profile,
    RequestError,
    Scoring,
    flare,
    profile_named,
    score_case,
)
from evaluator.buffers import BufferPool
from evaluator.case import missing_prediction
from evaluator.profiles import mended
from evaluator.progress import Progress
from evaluator.table import tidy_columns, tidy_rows


def some_score(
    *,
    metrics: tuple[str, ...] = ("dsc", "nsd"),
    profile: str | Profile = "exact",
    annotated: list[int] | None = None,
    case: str | None = None,
) -> CaseScore:
    reference, prediction = box((9, 9, 9), (1, 1, 1), (5, 5, 5)), box((9, 9, 9), (2, 1, 1), (6, 5, 5))
    reference[7, 7, 7] = 2
    return score_case(
        volume(reference, (0.7, 0.8, 2.0)),
        volume(prediction, (0.7, 0.8, 2.0)),
        Scoring(table(1.0, 2.0, 3.0), metrics=metrics, profile=profile),
        annotated=annotated,
        case=case,
    )


def test_a_record_survives_json() -> None:
    score = some_score(case="a", metrics=tuple(METRICS)[:5])
    assert score[2].scores["hd95"] == math.inf and math.isnan(score[3].scores["hd95"])
    text = json.dumps(score.to_dict(), allow_nan=False)
    assert CaseScore.from_dict(json.loads(text)) == score


def test_the_former_form_of_a_record_is_read() -> None:
    record = some_score(case="a").to_dict()
    del record["scores"], record["unusable"]
    former = {"dsc": 0.75, "nsd": None, "hd95_mm": "inf", "assd_mm": 1.5}
    for label in record["labels"]:
        del label["scores"]
        label |= former
    record["labels"][2] |= {"hd95_mm": None, "assd_mm": None}
    first, _, third = CaseScore.from_dict(json.loads(json.dumps(record))).labels
    assert first.dsc == 0.75 and math.isnan(first.nsd)
    assert (first.scores["hd95"], first.scores["masd"]) == (math.inf, 1.5) and "assd" not in first.scores
    assert list(third.scores) == ["dsc", "nsd"]


def test_a_scoring_travels_to_another_process() -> None:
    scoring = Scoring(LABEL_TABLES["flare23"], profile="flare", metrics=("dice", "hd95"), threads=2)
    arrived = pickle.loads(pickle.dumps(scoring))
    assert arrived == scoring and arrived.rules.cropped_labels == {5, 6, 10}


def test_an_undefined_score_survives_json() -> None:
    unknown = EmptyRule(both=math.nan, reference=0.0, prediction=0.0)
    rules = replace(profile_named("exact", "test"), empty={"dsc": unknown, "nsd": unknown})
    restored = CaseScore.from_dict(
        json.loads(json.dumps(some_score(profile=rules).to_dict(), allow_nan=False))
    )
    assert math.isnan(restored[3].dsc) and math.isnan(restored[3].nsd)
    assert restored.mean_dsc == (restored[1].dsc + 0.0) / 2
    with pytest.raises(KeyError):
        _ = restored[99]


def test_the_stated_empty_policy_of_exact() -> None:
    score = some_score()
    assert (score[2].dsc, score[2].nsd, score[2].note) == (0.0, 0.0, "not in the prediction")
    assert (score[3].dsc, score[3].nsd, score[3].note) == (1.0, 1.0, "in neither volume")


def test_a_missing_prediction_scores_zero_even_where_the_reference_is_empty() -> None:
    score = score_case(volume(np.zeros((4, 4, 4))), None, labels=table(1.0), case="a")
    assert (score[1].dsc, score[1].nsd, score.scored) == (0.0, 0.0, False)
    without_reference = missing_prediction("a", Scoring(table(1.0)))
    assert without_reference.labels == score.labels


def test_volumes_and_counts_agree() -> None:
    score = some_score()[1]
    assert score.true_positive_voxels + score.false_negative_voxels == 64
    assert score.true_positive_voxels + score.false_positive_voxels == 64
    assert score.reference_ml == score.prediction_ml == pytest.approx(64 * 0.7 * 0.8 * 2.0 / 1000)


@pytest.mark.parametrize(
    ("stored", "meant"),
    [
        (float(np.float32(0.8)), 0.8),
        (float(np.float32(0.781)), 0.781),
        (float(np.float32(2.5)), 2.5),
        (float(np.nextafter(np.float32(0.8), np.float32(1))), 0.8),
        (0.9765625, 0.9765625),
        (0.703125, 0.703125),
        (0.80001, 0.80001),
        (0.800001, 0.800001),
    ],
)
def test_the_rounding_of_float32_is_undone_and_nothing_else(stored: float, meant: float) -> None:
    assert mended(stored) == meant


def test_a_shift_by_exactly_the_tolerance_survives_a_nifti_file(tmp_path: Path) -> None:
    spacing = (0.8, 0.8, 0.8)
    one, other = box((30, 20, 20), (5, 5, 5), (15, 15, 15)), box((30, 20, 20), (10, 5, 5), (20, 15, 15))
    reference, prediction = (save(tmp_path / f"{k}.nii.gz", a, spacing) for k, a in enumerate((one, other)))
    score = score_case(reference, prediction, labels=table(4.0))
    assert score[1].nsd == 1.0
    assert score.spacing_mm == tuple(float(np.float32(size)) for size in spacing)
    assert score.distance_spacing_mm == spacing
    assert oracles.surface_dice(one == 1, other == 1, score.spacing_mm, 4.0) < 0.9


def test_tables_leave_empty_what_is_not_known() -> None:
    score = some_score(annotated=[1])
    metrics = ("dsc", "hd95")
    (row,) = tidy_rows(score, metrics)
    known = dict(zip(tidy_columns(metrics), row, strict=True))
    assert known["hd95_mm"] == "" and float(known["dsc"]) == score[1].dsc and "nsd" not in known
    assert known["case_notes"] == "not annotated, so not scored: labels 2, 3"
    partial = score_case(
        volume(box((5, 5, 5), (1, 1, 1), (3, 3, 3))),
        volume(box((5, 5, 5), (1, 1, 1), (3, 3, 3))),
        labels=LABEL_TABLES["flare23"],
        annotated=[1, 14],
        case="a",
    )
    row = flare.row(partial, LABEL_TABLES["flare23"])
    assert row[:2] == ["a.nii.gz", 1.0] and math.isnan(row[2]) and row[-2:] == [1.0, 1.0]


def test_a_label_volume_must_hold_integers_on_three_axes() -> None:
    for array in (np.zeros((3, 3)), np.zeros((3, 3, 3))):
        with pytest.raises(LabelValueError, match="a label volume"):
            LabelVolume(array, (1, 1, 1))
    for size in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(RequestError, match="not positive"):
            LabelVolume(np.zeros((3, 3, 3), np.uint8), (1.0, size, 1.0))
    with pytest.raises(RequestError, match="no voxels"):
        LabelVolume(np.zeros((3, 0, 3), np.uint8), (1.0, 1.0, 1.0))


def test_an_axis_too_long_to_be_packed_is_refused() -> None:
    long = volume(np.zeros((65536, 1, 1)))
    with pytest.raises(RequestError, match="65535"):
        score_case(long, long, labels=table(1.0))


def test_buffers_come_back_and_are_bounded() -> None:
    pool = BufferPool(kept_bytes=300)
    with pool.lend() as lease:
        first, second = lease.allocate(100), lease.allocate(200)
    with pool.lend() as lease:
        assert lease.allocate(150) is second
        assert lease.allocate(50) is first
    with pool.lend() as lease:
        lease.allocate(1000)
    with pool.lend() as lease:
        assert len(lease.allocate(10)) <= 200
    pool.clear()
    with pool.lend() as lease:
        assert len(lease.allocate(10)) == 10


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_progress_moves_on_a_terminal_and_writes_lines_elsewhere() -> None:
    for stream in (Terminal(), io.StringIO()):
        progress = Progress(stream)
        progress.start(3)
        for _ in range(3):
            progress.advance()
        progress.say("a: no prediction")
        progress.finish()
        text = stream.getvalue()
        assert "3/3 cases" in text and text.endswith("a: no prediction\n")
        assert ("\r" in text) == stream.isatty()


def test_progress_can_be_quiet() -> None:
    stream = io.StringIO()
    progress = Progress(stream, quiet=True)
    progress.start(2)
    progress.advance()
    progress.advance()
    progress.finish()
    assert stream.getvalue() == ""
