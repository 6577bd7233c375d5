"""From what was measured of a label to its scores: a profile's rules, in the order of official scripts."""

from __future__ import annotations

import math
from collections.abc import Iterable

from evaluator.metrics import METRICS, Metric
from evaluator.pair import LabelPair
from evaluator.scores import LabelScore
from evaluator.scoring import Scoring


def score_label(pair: LabelPair, scoring: Scoring) -> LabelScore:
    """Return the scores of one label."""
    rules, counts = scoring.rules, pair.counts
    missing, note = _what_is_missing(pair)
    scores = {
        metric.facts.key: _empty_value(metric, pair, missing) if missing else _computed(metric, pair)
        for metric in scoring.label_metrics
    }
    if (
        not missing
        and rules.least_dsc_for_nsd
        and "nsd" in scores
        and METRICS["dsc"].of(pair) < rules.least_dsc_for_nsd
    ):
        scores["nsd"], note = 0.0, f"NSD is 0 because DSC is below {rules.least_dsc_for_nsd:g}"
    for metric in scoring.label_metrics:
        if not metric.facts.unit:
            scores[metric.facts.key] = rules.rounded(scores[metric.facts.key])
    voxel_ml = math.prod(pair.spacing.volumes_mm) / 1000.0
    return LabelScore(
        label=pair.label.value,
        organ=pair.label.name,
        column=pair.label.column,
        scores=scores,
        reference_ml=counts.reference_voxels * voxel_ml,
        prediction_ml=counts.prediction_voxels * voxel_ml,
        true_positive_voxels=counts.overlap_voxels,
        false_positive_voxels=counts.scored_prediction_voxels - counts.overlap_voxels,
        false_negative_voxels=counts.scored_reference_voxels - counts.overlap_voxels,
        note=note,
        replaced=tuple(key for key in scores if missing and not METRICS[key].always),
    )


def failed_scores(metrics: Iterable[Metric]) -> dict[str, float]:
    """Return what a case without a usable prediction gets, by metric."""
    return {metric.facts.key: metric.facts.failed for metric in metrics}


def unknown_scores(metrics: Iterable[Metric]) -> dict[str, float]:
    """Return what a case without a usable reference gets, by metric: nothing is known, all NaN."""
    return dict.fromkeys((metric.facts.key for metric in metrics), math.nan)


_IN_NEITHER = "in neither volume"
_NOT_IN_REFERENCE = "not in the reference"
_NOT_IN_PREDICTION = "not in the prediction"
_CROPPED_AWAY = "cropped away"


def _what_is_missing(pair: LabelPair) -> tuple[str, str]:
    """Return what there is nothing to compare of, and how the row says it; two empty texts if nothing is."""
    counts = pair.counts
    if counts.reference_voxels == 0 and counts.prediction_voxels == 0:
        return _IN_NEITHER, _IN_NEITHER
    if counts.reference_voxels == 0:
        return _NOT_IN_REFERENCE, _NOT_IN_REFERENCE
    if counts.prediction_voxels == 0:
        return _NOT_IN_PREDICTION, _NOT_IN_PREDICTION
    if counts.scored_reference_voxels == 0:
        score = f"{pair.rules.cropped_to_nothing:g}"
        return (
            _CROPPED_AWAY,
            f"a single reference slice, cropped away: the official scorer crashes, here {score}",
        )
    return "", ""


def _empty_value(metric: Metric, pair: LabelPair, missing: str) -> float:
    if missing == _CROPPED_AWAY:
        return math.nan if metric.facts.unit else pair.rules.cropped_to_nothing
    value: float | str = "computed"
    if not metric.always or metric.facts.key in pair.rules.empty:
        rule = pair.rules.empty_rule(metric)
        value = {
            _IN_NEITHER: rule.both,
            _NOT_IN_REFERENCE: rule.reference,
            _NOT_IN_PREDICTION: rule.prediction,
        }[missing]
    if value == "computed":
        found = metric.of(pair)
        return _number(metric.empty.both, pair) if math.isnan(found) and missing == _IN_NEITHER else found
    return _number(value, pair)


def _computed(metric: Metric, pair: LabelPair) -> float:
    rules, counts = pair.rules, pair.counts
    is_apart = counts.overlap_voxels == 0 and rules.surface.needs_overlap and "distances" in metric.needs
    if counts.scored_prediction_voxels == 0 or is_apart:
        # The prediction lies in other slices than are scored, or nowhere near.
        return _number(rules.empty_rule(metric).prediction, pair)
    found = metric.of(pair)
    if metric.always and math.isnan(found) and metric.facts.key in rules.empty:
        return _number(rules.empty[metric.facts.key].both, pair)  # nothing was left to average
    return found


def _number(value: float | str, pair: LabelPair) -> float:
    return pair.diagonal_mm if value == "diagonal" else float(value)
