"""The table of metrics: rows that anyone can name, needs that are computed once and only when asked for."""

from __future__ import annotations

import dataclasses
import importlib
import math
import pkgutil

import numpy as np
import pytest
from volumes import box, table, volume

from evaluator import METRICS, CaseScore, Metric, MetricFacts, RequestError, Scoring, metric_named, score_case
from evaluator import metrics as package
from evaluator import pair as pair_module
from evaluator.metrics import EmptyRule
from evaluator.table import tidy_columns, tidy_rows

REFERENCE, PREDICTION = box((9, 9, 9), (1, 1, 1), (5, 5, 5)), box((9, 9, 9), (2, 1, 1), (6, 5, 5))


def scored(*metrics: str) -> CaseScore:
    return score_case(
        volume(REFERENCE), volume(PREDICTION), Scoring(table(1.0, 2.0), metrics=metrics), case="a"
    )


def test_a_row_is_known_by_its_key_and_every_key_is_a_file() -> None:
    assert tuple(METRICS)[:5] == ("dsc", "nsd", "hd95", "assd", "masd")
    assert all(metric.facts.key == key for key, metric in METRICS.items())
    files = {module.name for module in pkgutil.iter_modules(package.__path__)}
    files -= {"facts", "metric", "table", "lesions_by_size"}
    assert files == {key for key in METRICS if not key.endswith(("_small", "_medium", "_large"))}
    for name in files:
        assert importlib.import_module(f"evaluator.metrics.{name}").METRIC is METRICS[name]


@pytest.mark.parametrize(("name", "key"), [("dsc", "dsc"), ("Dice", "dsc"), (" HD95", "hd95")])
def test_a_metric_is_found_by_key_or_alias(name: str, key: str) -> None:
    assert metric_named(name).facts.key == key


def test_an_unknown_metric_is_told_its_nearest() -> None:
    with pytest.raises(RequestError, match=r"'hd955'. Did you mean hd95\? Choose one of dsc, nsd, hd95"):
        metric_named("hd955")
    with pytest.raises(RequestError, match="no metric is named"):
        Scoring(table(1.0), metrics=())


def test_a_scoring_names_each_metric_once_by_its_key() -> None:
    assert Scoring(table(1.0), metrics=("dice", "dsc", "HD95")).metrics == ("dsc", "hd95")


def test_only_what_is_asked_for_is_in_a_record() -> None:
    score = scored("hd95", "dice")
    assert list(score[1].scores) == ["hd95", "dsc"]
    assert math.isnan(score[1].nsd) and score[1].dsc == 0.75
    assert score[2].scores["dsc"] == 1.0 and math.isnan(score[2].scores["hd95"])
    assert score.mean("hd95") == 1.0


def test_a_need_is_computed_once_and_only_if_a_metric_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    for name in ("measure_areas", "measure_distances"):
        real = getattr(pair_module, name)
        monkeypatch.setattr(
            pair_module, name, lambda *args, real=real, name=name: (calls.append(name), real(*args))[1]
        )
    scored("dsc")
    assert calls == []
    scored("dsc", "nsd")
    assert calls == ["measure_areas"]
    calls.clear()
    scored("hd95", "assd", "masd")
    assert calls == ["measure_distances"]


def test_one_more_row_reaches_records_and_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    row = Metric(
        facts=MetricFacts(key="iou", title="IoU", direction="higher", failed=0.0),
        needs=("counts", "label"),
        compute=lambda counts, label: (
            counts.overlap_voxels
            / (counts.reference_voxels + counts.prediction_voxels - counts.overlap_voxels)
        ),
    )
    monkeypatch.setitem(METRICS, "iou", row)  # type: ignore[arg-type]
    score = scored("iou")
    assert score[1].scores["iou"] == 48 / 80
    assert tidy_rows(score, ("iou",))[0][tidy_columns(("iou",)).index("iou")] == "0.6"
    assert CaseScore.from_dict(score.to_dict()) == score


def test_a_metric_may_be_one_number_per_case(monkeypatch: pytest.MonkeyPatch) -> None:
    row = Metric(
        facts=MetricFacts(
            key="volume_error",
            title="volume error",
            unit="voxels",
            direction="lower",
            scope="case",
            failed=9e9,
        ),
        needs=("labels",),
        compute=lambda labels: sum(
            pair.counts.prediction_voxels - pair.counts.reference_voxels for pair in labels
        ),
    )
    monkeypatch.setitem(METRICS, "volume_error", row)  # type: ignore[arg-type]
    scoring = Scoring(table(1.0, 2.0), metrics=("volume_error", "dsc"))
    larger = np.maximum(PREDICTION, box((9, 9, 9), (7, 7, 7), (9, 9, 9), 2))
    score = score_case(volume(REFERENCE), volume(larger), scoring, case="a")
    assert score.scores == {"volume_error": 8.0} and list(score[1].scores) == ["dsc"]
    assert score.mean("volume_error") == 8.0
    assert [row[3] for row in tidy_rows(score, scoring.metrics)] == ["8.0", "8.0"]
    assert CaseScore.from_dict(score.to_dict()) == score
    assert score_case(volume(REFERENCE), None, scoring, case="a").scores == {"volume_error": 9e9}


def test_a_case_without_a_prediction_gets_what_each_metric_says_of_a_failure() -> None:
    failed = score_case(volume(REFERENCE), None, Scoring(table(1.0), metrics=("dsc", "hd95")), case="a")
    assert failed[1].scores == {"dsc": 0.0, "hd95": math.inf}


def test_a_profile_may_say_what_a_missing_label_is_worth() -> None:
    rules = dataclasses.replace(
        Scoring(table(1.0)).rules, empty={"hd95": EmptyRule(both=0.0, reference=373.0, prediction=374.0)}
    )
    scoring = Scoring(table(1.0, 2.0), profile=rules, metrics=("hd95",))
    empty = np.zeros((9, 9, 9))
    for reference, prediction, value in (
        (REFERENCE, empty, 374.0),
        (empty, PREDICTION, 373.0),
        (empty, empty, 0.0),
    ):
        assert score_case(volume(reference), volume(prediction), scoring)[1].scores["hd95"] == value


def test_the_two_average_distances_differ_where_one_surface_is_larger() -> None:
    reference = box((20, 20, 20), (2, 2, 2), (4, 4, 4))
    prediction = np.maximum(reference, box((20, 20, 20), (10, 2, 2), (18, 10, 10)))
    scoring = Scoring(table(1.0), metrics=("assd", "masd"))
    scores = score_case(volume(reference), volume(prediction), scoring)[1].scores
    assert scores["assd"] > scores["masd"] > 0


def test_distances_are_measured_with_one_spacing_whatever_the_metric() -> None:
    stored = tuple(float(np.float32(size)) for size in (0.8, 0.8, 0.8))
    reference, prediction = (
        box((30, 20, 20), (5, 5, 5), (15, 15, 15)),
        box((30, 20, 20), (10, 5, 5), (20, 15, 15)),
    )
    score = score_case(
        volume(reference, stored),  # type: ignore[arg-type]
        volume(prediction, stored),  # type: ignore[arg-type]
        Scoring(table(4.0), metrics=("nsd", "hd95")),
    )
    assert score[1].scores == {"nsd": 1.0, "hd95": 4.0}
