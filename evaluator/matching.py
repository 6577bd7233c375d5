"""Which predicted lesions belong to which reference lesion, by rules that are data."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from evaluator.lesion_rules import LesionRules

Pairs = dict[tuple[int, int], int]
"""Voxels that a reference lesion and a predicted one share, by their numbers."""


def match(
    pairs: Pairs,
    reference_voxels: NDArray[np.int64],
    prediction_voxels: NDArray[np.int64],
    rules: LesionRules,
) -> dict[int, tuple[int, ...]]:
    """Return the predicted lesions of each matched reference lesion, one to one or by union.

    The order is that of panoptica 2.1.7: descending by score, ties by predicted then reference number.

    Args:
        pairs: Shared voxels.
        reference_voxels: Sizes of the reference lesions.
        prediction_voxels: Sizes of the predicted ones.
        rules: Matching, score and limit.
    """

    def score(shared: int, reference: int, prediction: int) -> float:
        if rules.score == "dice":
            return 2 * shared / (reference + prediction)
        return shared / (reference + prediction - shared)

    def scored(reference: int, predictions: tuple[int, ...]) -> float:
        shared = sum(pairs.get((reference, prediction), 0) for prediction in predictions)
        size = sum(int(prediction_voxels[prediction]) for prediction in predictions)
        return score(shared, int(reference_voxels[reference]), size)

    found = sorted(
        (-scored(reference, (prediction,)), prediction, reference) for reference, prediction in pairs
    )
    candidates = [(-minus, prediction, reference) for minus, prediction, reference in found]
    if rules.matching == "optimal":
        return _optimal(candidates, rules)
    return _greedy(candidates, rules, scored)


def _reaches(score: float, rules: LesionRules) -> bool:
    return score > rules.least if rules.is_strict else score >= rules.least


def _greedy(
    candidates: list[tuple[float, int, int]],
    rules: LesionRules,
    scored: Callable[[int, tuple[int, ...]], float],
) -> dict[int, tuple[int, ...]]:
    matched: dict[int, tuple[int, ...]] = {}
    best: dict[int, float] = {}
    taken: set[int] = set()
    for score, prediction, reference in candidates:
        if prediction in taken:
            continue
        if reference not in matched:
            if _reaches(score, rules):
                matched[reference], best[reference] = (prediction,), score
                taken.add(prediction)
        elif rules.matching == "merge":
            union = (*matched[reference], prediction)
            merged = scored(reference, union)
            if merged > best[reference]:
                matched[reference], best[reference] = union, merged
                taken.add(prediction)
    return matched


def _optimal(candidates: list[tuple[float, int, int]], rules: LesionRules) -> dict[int, tuple[int, ...]]:
    from scipy.optimize import linear_sum_assignment

    allowed = [candidate for candidate in candidates if _reaches(candidate[0], rules)]
    if not allowed:
        return {}
    references = sorted({reference for _, _, reference in allowed})
    predictions = sorted({prediction for _, prediction, _ in allowed})
    forbidden = 1.000001
    costs = np.full((len(references), len(predictions)), forbidden)
    for score, prediction, reference in allowed:
        costs[references.index(reference), predictions.index(prediction)] = 1 - score
    rows, columns = linear_sum_assignment(costs)
    return {
        references[row]: (predictions[column],)
        for row, column in zip(rows, columns, strict=True)
        if costs[row, column] < forbidden
    }
