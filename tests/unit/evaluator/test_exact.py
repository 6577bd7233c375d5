"""The exact profile gives surface-distance's numbers, for any shape, spacing and tolerance."""

from __future__ import annotations

import math
import threading

import numpy as np
import oracles
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from volumes import box, table, volume

from evaluator import LabelVolume, Scoring, measure, score_case
from evaluator.surface import balls

ALL = ("dsc", "nsd", "hd95", "assd", "masd")

SPACINGS = st.one_of(
    st.tuples(*[st.sampled_from([0.3, 0.5, 0.7, 0.8, 0.9765625, 1.0, 1.5, 2.5, 3.0, 5.0])] * 3),
    st.sampled_from([0.7, 0.9, 1.0, 1.1]).map(lambda size: (size, size, size)),
    st.tuples(*[st.floats(0.2, 6.0).map(lambda size: round(size, 5))] * 3),
)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Two volumes of two labels: noise, or noise and a part of it moved."""
    shape = draw(
        st.one_of(
            st.tuples(st.integers(1, 12), st.integers(1, 9), st.integers(1, 7)),
            st.tuples(st.integers(55, 140), st.integers(1, 4), st.integers(1, 4)),
        )
    )
    values = st.sampled_from([0, 0, 0, 1, 1, 2])
    reference = draw(st_numpy.arrays(np.uint8, shape, elements=values, fill=st.just(0)))
    if draw(st.booleans()):
        shift = draw(st.integers(0, 4))
        prediction = np.roll(reference, shift, axis=draw(st.integers(0, 2)))
    else:
        prediction = draw(st_numpy.arrays(np.uint8, shape, elements=values, fill=st.just(0)))
    return reference, prediction


@st.composite
def tolerances(draw: st.DrawFn, spacing: tuple[float, float, float]) -> float:
    """Zero, exact multiples of the spacing, exact diagonals, and anything."""
    x, y, z = spacing
    return draw(
        st.one_of(
            st.just(0.0),
            st.builds(lambda size, steps: size * steps, st.sampled_from(spacing), st.integers(1, 5)),
            st.sampled_from([math.hypot(x, y), math.hypot(x, y, z), math.hypot(3 * x, 4 * y), 5 * x]),
            st.floats(0, 8),
        )
    )


def assert_as_the_oracle(
    reference: np.ndarray,
    prediction: np.ndarray,
    spacing: tuple[float, float, float],
    tolerance_mm: tuple[float, float],
) -> None:
    score = score_case(
        volume(reference, spacing),
        volume(prediction, spacing),
        Scoring(table(*tolerance_mm), metrics=ALL, threads=1),
    )
    for label, found in enumerate(score.labels, 1):
        one, other = reference == label, prediction == label
        assert found.true_positive_voxels == (one & other).sum()
        assert found.false_positive_voxels == (other & ~one).sum()
        assert found.false_negative_voxels == (one & ~other).sum()
        assert found.reference_ml == pytest.approx(one.sum() * math.prod(spacing) / 1000, rel=1e-12)
        if one.any() and other.any():
            assert found.dsc == oracles.dice(one, other)
            expected = oracles.surface_dice(one, other, spacing, tolerance_mm[label - 1])
            assert found.nsd == pytest.approx(expected, abs=1e-12)
            assert found.scores["hd95"] == pytest.approx(oracles.hd95(one, other, spacing), abs=1e-9)
            assert found.scores["masd"] == pytest.approx(
                oracles.masd(one, other, spacing), rel=1e-12, abs=1e-12
            )
            assert found.scores["assd"] == pytest.approx(
                oracles.assd(one, other, spacing), rel=1e-12, abs=1e-12
            )


@settings(max_examples=150)
@given(st.data(), pairs(), SPACINGS)
def test_every_score_equals_the_oracles(data: st.DataObject, pair: tuple, spacing: tuple) -> None:
    tolerance_mm = (data.draw(tolerances(spacing)), data.draw(tolerances(spacing)))
    assert_as_the_oracle(*pair, spacing, tolerance_mm)


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), SPACINGS, st.sampled_from([0.02, 0.2, 0.6]))
@example(seed=0, spacing=(0.7, 0.7, 0.7), density=0.02)
def test_sparse_and_dense_noise_equals_the_oracles(seed: int, spacing: tuple, density: float) -> None:
    random = np.random.default_rng(seed)
    shape = tuple(random.integers(3, 24, 3))
    reference = (random.random(shape) < density) * random.integers(1, 3, shape)
    prediction = (random.random(shape) < density) * random.integers(1, 3, shape)
    assert_as_the_oracle(reference, prediction, spacing, (5 * spacing[0], 2.0))


@pytest.mark.parametrize("place", [(0, 0, 0), (63, 0, 0), (64, 1, 1), (127, 2, 0), (128, 2, 2)])
def test_one_voxel_at_every_word_boundary_and_border(place: tuple[int, int, int]) -> None:
    reference = box((129, 3, 3), place, tuple(p + 1 for p in place))
    prediction = box((129, 3, 3), (min(place[0] + 1, 128), 1, 1), (129, 2, 2))
    assert_as_the_oracle(reference, prediction, (0.8, 0.7, 2.5), (2.0, 0.0))


def test_a_volume_full_of_one_label() -> None:
    full = np.ones((64, 3, 2), np.uint8)
    assert_as_the_oracle(full, full, (1.0, 2.0, 3.0), (1.0, 1.0))
    assert_as_the_oracle(full, box((64, 3, 2), (0, 0, 0), (64, 3, 1)), (1.0, 2.0, 3.0), (1.0, 1.0))


def test_a_box_shifted_by_exactly_the_tolerance_is_all_within_it() -> None:
    reference, prediction = (
        box((30, 20, 20), (5, 5, 5), (15, 15, 15)),
        box((30, 20, 20), (10, 5, 5), (20, 15, 15)),
    )
    (score,) = score_case(
        volume(reference, (0.8, 0.8, 0.8)), volume(prediction, (0.8, 0.8, 0.8)), labels=table(4.0)
    ).labels
    assert score.nsd == 1.0
    assert oracles.surface_dice(reference == 1, prediction == 1, (0.8, 0.8, 0.8), 4.0) == 1.0


@pytest.mark.parametrize(
    ("spacing", "tolerance_mm"),
    [((1.1, 1.1, 1.1), 5.5), ((0.45, 0.45, 0.45), 3.15), ((0.6, 0.8, 0.7), 5.0), ((0.8, 0.9, 1.2), 3.0)],
)
def test_partners_at_one_true_distance_that_rounding_tells_apart(spacing: tuple, tolerance_mm: float) -> None:
    strict_and_loose = balls(tolerance_mm, spacing)
    assert strict_and_loose is not None and len(strict_and_loose) == 2
    random = np.random.default_rng(3)
    for _ in range(10):
        reference, prediction = (random.random((2, 14, 14, 14)) < 0.004).astype(np.uint8)
        assert_as_the_oracle(reference, prediction, spacing, (tolerance_mm, 0.0))


def test_a_tolerance_of_very_many_voxels() -> None:
    spacing = (0.02, 0.02, 0.02)
    assert balls(5.0, spacing) is None
    random = np.random.default_rng(5)
    reference, prediction = (random.random((2, 40, 9, 9)) < 0.1).astype(np.uint8)
    assert_as_the_oracle(reference, prediction, spacing, (5.0, 5.0))
    assert_as_the_oracle(reference, prediction, (0.02, 0.9, 0.9), (5.0, 0.06))


def test_a_ball_that_needs_too_much_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "_LARGEST_SCRATCH_WORDS", 10)
    monkeypatch.setattr(measure, "_thread", threading.local())
    random = np.random.default_rng(6)
    reference, prediction = random.integers(0, 3, (2, 20, 9, 9)).astype(np.uint8)
    assert_as_the_oracle(reference, prediction, (0.7, 0.8, 2.0), (2.0, 3.0))


def test_the_memory_of_arrays_does_not_matter() -> None:
    random = np.random.default_rng(1)
    reference, prediction = random.integers(0, 3, (2, 11, 7, 5)).astype(np.uint8)
    layouts = [np.asfortranarray, np.ascontiguousarray, lambda a: np.repeat(a, 2, axis=0)[::2]]
    scores = {
        score_case(
            LabelVolume(one(reference), (0.7, 0.9, 2.0)),
            LabelVolume(other(prediction), (0.7, 0.9, 2.0)),
            labels=table(1.0, 2.0),
        ).labels
        for one in layouts
        for other in layouts
    }
    assert len(scores) == 1


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_number_of_threads_does_not_matter(threads: int) -> None:
    random = np.random.default_rng(2)
    reference, prediction = random.integers(0, 4, (2, 20, 15, 17)).astype(np.uint8)
    one, many = (
        score_case(volume(reference), volume(prediction), Scoring(table(1.0, 2.0, 3.0), threads=n))
        for n in (1, threads)
    )
    assert one == many


def test_a_label_in_one_volume_only_is_infinitely_far() -> None:
    (score,) = score_case(
        volume(box((5, 5, 5), (1, 1, 1), (3, 3, 3))),
        volume(np.zeros((5, 5, 5))),
        Scoring(table(1.0), metrics=ALL),
    ).labels
    assert score.scores == {"dsc": 0.0, "nsd": 0.0, "hd95": math.inf, "assd": math.inf, "masd": math.inf}
