"""Voronoi regions of lesions, against the definition written out voxel by voxel."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from evaluator import Label, LabelTable, Scoring, profile_named, score_case
from evaluator.lesion_rules import LesionRules

TABLE = LabelTable("lesions", (Label(1, "lesion", 1.0),))


def by_definition(reference: np.ndarray, prediction: np.ndarray, spacing: tuple[float, ...]) -> list[float]:
    """Dice of each reference lesion in its region: one distance transform a lesion, the first of equals."""
    lesions, count = ndimage.label(reference.T, np.ones((3, 3, 3)))
    lesions = lesions.T  # numbered with x fastest
    nearest, owner = np.full(reference.shape, np.inf), np.zeros(reference.shape, int)
    for number in range(1, count + 1):
        distance = ndimage.distance_transform_edt(lesions != number, sampling=spacing)
        closer = distance < nearest - 1e-9
        nearest[closer], owner[closer] = distance[closer], number
    found = []
    for number in range(1, count + 1):
        one, other = lesions == number, (prediction > 0) & (owner == number)
        found.append(2 * (one & other).sum() / (one.sum() + other.sum()))
    return found


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.7, 0.7, 5.0), (2.0, 1.0, 0.5)])
def test_each_lesion_is_compared_with_what_is_predicted_nearest_to_it(seed, spacing):
    random = np.random.default_rng(seed)
    shape = (80, 18, 12)
    reference = ndimage.binary_dilation(random.random(shape) < 0.002, iterations=1).astype(np.uint8)
    prediction = ndimage.binary_dilation(random.random(shape) < 0.004, iterations=2).astype(np.uint8)
    prediction |= np.roll(reference, 1, axis=0)
    exact = profile_named("exact", "")
    rules = replace(exact, lesions=LesionRules(matching="voronoi"))
    metrics = ("lesion_dice", "lesion_tp", "lesion_fn", "lesion_fp")
    scoring = Scoring(TABLE, profile=rules, metrics=metrics)
    scores = score_case(reference, prediction, scoring, spacing_mm=spacing)[1].scores
    expected = by_definition(reference, prediction, spacing)
    assert scores["lesion_dice"] == pytest.approx(np.mean(expected), abs=1e-12)
    assert scores["lesion_tp"] == sum(value > 0 for value in expected)
    assert scores["lesion_tp"] + scores["lesion_fn"] == len(expected)
    assert scores["lesion_fp"] == 0


def test_a_prediction_between_two_lesions_is_shared_by_them():
    reference = np.zeros((40, 5, 5), np.uint8)
    reference[2:6, 2, 2] = reference[32:36, 2, 2] = 1
    prediction = np.zeros_like(reference)
    prediction[2:36, 2, 2] = 1
    score = score_case(
        reference, prediction, Scoring(TABLE, profile="cc-metrics"), spacing_mm=(1.0, 1.0, 1.0)
    )
    # The middle of places 5 and 32 lies between 18 and 19: 17 voxels belong to each.
    alone = Scoring(TABLE, profile="cc-metrics", metrics=("lesion_dice",))
    value = score_case(reference, prediction, alone, spacing_mm=(1.0, 1.0, 1.0))[1].scores["lesion_dice"]
    assert value == pytest.approx(2 * 4 / (4 + 17))
    assert score[1].dsc == pytest.approx(2 * 8 / (8 + 34))


@pytest.mark.parametrize(("held", "expected"), [((0, 1), np.nan), ((1, 0), 0.0), ((0, 0), np.nan)])
def test_empty_sides(held, expected):
    volumes = [np.zeros((6, 6, 6), np.uint8) for _ in held]
    for volume, there in zip(volumes, held, strict=True):
        volume[2:4, 2:4, 2:4] = there
    scoring = Scoring(TABLE, profile="cc-metrics", metrics=("lesion_dice",))
    value = score_case(*volumes, scoring, spacing_mm=(1.0, 1.0, 1.0))[1].scores["lesion_dice"]
    assert value == pytest.approx(expected, nan_ok=True)
