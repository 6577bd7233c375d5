"""Which predicted lesions belong to which reference lesion, by rules that are data."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from evaluator.lesion_rules import LesionRules

Pairs = dict[tuple[int, int], int]
"""Voxels that a reference and a predicted lesion share, by their numbers."""

_FORBIDDEN = 1.000001
"""The cost of two lesions that may not be matched, as in panoptica; others cost 1 less their score."""


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
    """Return the assignment with the largest sum of scores, one cluster of touching lesions at a time."""
    allowed = [candidate for candidate in candidates if _reaches(candidate[0], rules)]
    matched: dict[int, tuple[int, ...]] = {}
    for cluster in _clusters(allowed):
        matched.update(_assigned(cluster))
    return matched


def _clusters(pairs: list[tuple[float, int, int]]) -> list[list[tuple[float, int, int]]]:
    """Return the pairs in groups that share no lesion."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not pairs:
        return []
    predictions, references = (np.array([pair[side] for pair in pairs]) for side in (1, 2))
    first = int(references.max()) + 1
    size = first + int(predictions.max()) + 1
    graph = coo_array((np.ones(len(pairs), np.int8), (references, first + predictions)), shape=(size, size))
    _, groups = connected_components(graph, directed=False)
    found: dict[int, list[tuple[float, int, int]]] = {}
    for pair, group in zip(pairs, groups[references].tolist(), strict=True):
        found.setdefault(group, []).append(pair)
    return list(found.values())


def _assigned(pairs: list[tuple[float, int, int]]) -> dict[int, tuple[int, ...]]:
    from scipy.optimize import linear_sum_assignment

    references = sorted({reference for _, _, reference in pairs})
    predictions = sorted({prediction for _, prediction, _ in pairs})
    costs = np.full((len(references), len(predictions)), _FORBIDDEN)
    row_of, column_of = ({number: at for at, number in enumerate(side)} for side in (references, predictions))
    for score, prediction, reference in pairs:
        costs[row_of[reference], column_of[prediction]] = 1 - score
    return {
        references[row]: (predictions[column],)
        for row, column in zip(*linear_sum_assignment(costs), strict=True)
        if costs[row, column] < _FORBIDDEN
    }
