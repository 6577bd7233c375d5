"""Several annotations of each case: how far the raters are apart, and the human level.

How good a person is tells how good a method can look. Each rater is scored as a prediction against each of
the others, and a method against all of them (`against_single_raters`): both meet single annotations, each as
often as any other. People can also be scored against the consensus of the others, but no method meets its
like: it has a vote less than the consensus of all, in which people would find their own votes.

The tolerance of NSD follows from the same disagreement, as KiTS21 derived its own (kits21/evaluation/
compute_tolerances.py at 21698f9): of each two raters half the sum of the two directed 95th percentiles of the
surface distances, each element counting one; the mean over pairs, then over the cases in which every rater
holds the label.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from evaluator.buffers import BufferPool
from evaluator.case import pair_volumes, score_volumes
from evaluator.case_input import CaseInput, Source, read_references
from evaluator.distances import measure_distances
from evaluator.labels import LabelTable
from evaluator.pair import LabelPair
from evaluator.scores import CaseScore, LabelScore
from evaluator.scoring import Scoring
from evaluator.volume import LabelVolume

Against = Literal["consensus", "single"]

_SHARE = 0.95
_TOO_FEW = 2


@dataclass(frozen=True)
class Disagreement:
    """How far the raters of one case are apart.

    Attributes:
        case: Its id.
        raters: By name, the rater's annotation scored against the others.
        tolerances_mm: By label, the mean over pairs of raters of half the sum of the two directed 95th
            percentiles; NaN where a rater lacks the label.
        against: Whether the others are scored against one by one and averaged, or are one consensus.
    """

    case: str
    raters: Mapping[str, CaseScore]
    tolerances_mm: Mapping[int, float]
    against: Against = "single"

    def level(self) -> CaseScore:
        """Return the human level of the case: the mean over the raters of each score.

        A value that one rater's scores leave out, because neither side holds the label, is left out.
        """
        how = "the consensus of the others" if self.against == "consensus" else "each of the others"
        mean = _mean_case(list(self.raters.values()))
        return replace(mean, notes=(f"the mean over {len(self.raters)} raters, each against {how}",))


def against_single_raters(score: CaseScore) -> CaseScore:
    """Return the mean of a prediction's scores against each rater, to be set beside `Disagreement.level`.

    A value that is left out against one rater is left out of the mean. A case with one annotation, or with a
    file of no use, is returned as it is.
    """
    if not score.raters:
        return score
    mean = _mean_case(score.raters)
    return replace(mean, notes=(f"the mean over scores against each of {len(score.raters)} raters",))


def disagreement(
    case: str,
    raters: Mapping[str, Source],
    scoring: Scoring,
    *,
    annotated: Collection[int] | None = None,
    against: Against = "single",
    buffers: BufferPool | None = None,
) -> Disagreement | None:
    """Return how far the raters of a case are apart; `None` if it has fewer than two.

    Args:
        case: Its id.
        raters: Their annotations, by name.
        scoring: Labels, rules and metrics.
        annotated: Label values that the case annotates; `None` for all.
        against: Score each rater against each of the others, averaged, or against their consensus.
        buffers: Memory to read into.

    Raises:
        EvaluatorError: A file cannot be read, or they lie on different grids.
    """
    if len(raters) < _TOO_FEW:
        return None
    given = CaseInput(case=case, reference=raters, prediction=None, annotated=annotated)
    with (buffers or BufferPool()).lend() as lease:
        volumes = read_references(given, scoring, lease)
        scored = {}
        for name, volume in volumes.items():
            others = _others(volumes, name)
            references = [others] if against == "consensus" else [[other] for other in others]
            each = [
                score_volumes(given, reference, prediction=volume, scoring=scoring)
                for reference in references
            ]
            scored[name] = replace(_mean_case(each) if len(each) > 1 else each[0], rater=name)
        return Disagreement(case, scored, _tolerances_mm(given, volumes, scoring), against)


def _others(volumes: Mapping[str, LabelVolume], name: str) -> list[LabelVolume]:
    return [volume for other, volume in volumes.items() if other != name]


def tolerances_mm(cases: Iterable[Disagreement], labels: LabelTable) -> dict[int, float]:
    """Return by label the mean over the cases that tell one; a label that no case does is not in it."""
    found: dict[int, list[float]] = {label.value: [] for label in labels}
    for case in cases:
        for label, tolerance in case.tolerances_mm.items():
            if not math.isnan(tolerance):
                found[label].append(tolerance)
    return {label: sum(each) / len(each) for label, each in found.items() if each}


def with_tolerances(labels: LabelTable, tolerances: Mapping[int, float]) -> LabelTable:
    """Return the table with these tolerances; labels that have none there keep theirs, with a note."""
    kept = [label.name for label in labels if label.value not in tolerances]
    notes = [
        f"{label.name}: tolerance {tolerances[label.value]:.4g} mm, from the raters"
        for label in labels
        if label.value in tolerances
    ]
    if kept:
        notes.append(
            f"no case tells how far raters are apart on {', '.join(kept)}: the stated tolerance holds"
        )
    table = tuple(
        replace(label, tolerance_mm=tolerances.get(label.value, label.tolerance_mm)) for label in labels
    )
    return LabelTable(labels.name, table, tuple(notes))


def _tolerances_mm(
    given: CaseInput, volumes: Mapping[str, LabelVolume], scoring: Scoring
) -> dict[int, float]:
    scoring = scoring.annotated(given.annotated)
    apart: dict[int, list[float]] = {label.value: [] for label in scoring.labels}
    for one, other in itertools.combinations(volumes.values(), 2):
        pair = pair_volumes(one, other, scoring)
        for label, distance in zip(apart, pair.for_each_label(_apart_mm), strict=True):
            apart[label].append(distance)
    return {label: sum(each) / len(each) for label, each in apart.items()}


def _apart_mm(pair: LabelPair) -> float:
    if not len(pair.reference_runs) or not len(pair.prediction_runs):
        return math.nan
    found = measure_distances(pair.reference_runs, pair.prediction_runs, pair.spacing)
    return sum(one.quantile_mm(_SHARE) for one in found.both) / 2


def _mean_case(each: Sequence[CaseScore]) -> CaseScore:
    return replace(
        each[0],
        labels=tuple(_mean_label(rows) for rows in zip(*each, strict=True)),
        scores=_mean_scores([score.scores for score in each]),
        rater="",
    )


def _mean_label(rows: Sequence[LabelScore]) -> LabelScore:
    first = rows[0]
    return replace(
        first,
        scores=_mean_scores([row.scores for row in rows]),
        reference_ml=_mean([row.reference_ml for row in rows]),
        prediction_ml=_mean([row.prediction_ml for row in rows]),
        note="",
    )


def _mean_scores(each: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {key: _mean([scores[key] for scores in each]) for key in each[0]}


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan
