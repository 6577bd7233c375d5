"""Label fusion: the rules on tiny arrays, case by case and for any input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

pytest.importorskip("isal")


from segkit.partial.annotation import EVERYTHING
from segkit.partial.errors import FusionError
from segkit.partial.fusion import Source, fuse

LIVER, RIGHT_KIDNEY, SPLEEN, TUMOUR = 1, 2, 3, 14
# A host that trains a network at the same time is no reason to fail.
AT_ANY_SPEED = settings(suppress_health_check=[HealthCheck.too_slow])


def fused_row(annotation, annotated, organs, tumour):
    """Fuse label maps of one row of voxels."""
    given_arrays = [
        None if row is None else np.array([row], np.uint8) for row in (annotation, organs, tumour)
    ]
    return fuse((1, len(organs or annotation or tumour)), given_arrays[0], annotated, *given_arrays[1:])


def check_row(annotation, annotated, organs, tumour, labels, sources):
    """Fuse and compare; sources are b(ackground), a(nnotation), o(rgan pseudo), t(umour pseudo)."""
    fused = fused_row(annotation, annotated, organs, tumour)
    assert fused.labels.tolist() == [labels]
    assert "".join("baot"[source] for source in fused.source[0]) == sources
    return fused


# The rules.


def test_fusion_a_fills_what_the_case_does_not_annotate():
    check_row(
        annotation=[LIVER, LIVER, 0, 0, 0, 0],
        annotated={LIVER},
        organs=[LIVER, SPLEEN, SPLEEN, 0, RIGHT_KIDNEY, 0],
        tumour=[0, 0, 0, 1, 0, 0],
        labels=[LIVER, LIVER, SPLEEN, TUMOUR, RIGHT_KIDNEY, 0],
        sources="aaotob",
    )


def test_fusion_b_is_tumour_first_and_organs_in_the_rest():
    check_row(
        annotation=None,
        annotated=(),
        organs=[LIVER, LIVER, SPLEEN, 0, 0],
        tumour=[0, 1, 0, 1, 0],
        labels=[LIVER, TUMOUR, SPLEEN, TUMOUR, 0],
        sources="otot" + "b",
    )


def test_a_case_that_annotates_everything_keeps_its_labels():
    labels = [LIVER, TUMOUR, 0, 0, SPLEEN]
    check_row(labels, EVERYTHING, [SPLEEN, LIVER, LIVER, TUMOUR, 0], [1, 0, 1, 1, 1], labels, "aabba")


def test_the_background_of_an_annotated_class_wins_over_the_organ_pseudo_label():
    fused = check_row([0, LIVER], {LIVER}, [LIVER, LIVER], [0, 0], [0, LIVER], "ba")
    assert fused.tallies[Source.ORGAN_PSEUDO].removed == {LIVER: 2}


def test_the_pseudo_tumour_is_written_over_annotated_organs():
    fused = check_row([LIVER, LIVER], {LIVER}, [0, 0], [1, 0], [TUMOUR, LIVER], "ta")
    assert fused.tallies[Source.ANNOTATION].covered == {LIVER: 1}


def test_where_the_tumour_is_annotated_the_pseudo_tumour_is_removed():
    fused = check_row([TUMOUR, 0, 0], {TUMOUR}, [LIVER, LIVER, 0], [0, 1, 1], [TUMOUR, LIVER, 0], "aob")
    assert fused.tallies[Source.TUMOUR_PSEUDO].removed == {TUMOUR: 2}
    assert fused.tallies[Source.ORGAN_PSEUDO].covered == {LIVER: 1}


def test_an_annotated_tumour_that_is_nowhere_stays_nowhere():
    check_row([0, 0], {TUMOUR}, [LIVER, 0], [1, 1], [LIVER, 0], "ob")


def test_the_organ_models_tumour_never_counts():
    fused = check_row(None, (), [TUMOUR, LIVER], [0, 0], [0, LIVER], "bo")
    assert fused.tallies[Source.ORGAN_PSEUDO].removed == {TUMOUR: 1}


def test_an_organ_pseudo_label_does_not_cover_another_annotated_organ():
    fused = check_row([LIVER, 0], {LIVER}, [SPLEEN, SPLEEN], [0, 0], [LIVER, SPLEEN], "ao")
    assert fused.tallies[Source.ORGAN_PSEUDO].covered == {SPLEEN: 1}


def test_a_tumour_map_may_hold_1_or_14():
    assert fused_row(None, (), [0, 0], [14, 1]).labels.tolist() == [[14, 14]]


def test_sources_may_be_left_out():
    check_row([LIVER, 0], {LIVER}, None, None, [LIVER, 0], "ab")
    check_row([LIVER, 0], {LIVER}, [0, SPLEEN], None, [LIVER, SPLEEN], "ao")
    check_row([LIVER, 0], {LIVER}, None, [0, 1], [LIVER, TUMOUR], "at")


@st.composite
def situations(draw):
    """Any annotation with the set of values it vouches for, and any pseudo labels."""
    shape = draw(arrays.array_shapes(min_dims=2, max_dims=3, max_side=4))
    annotated = draw(st.frozensets(st.integers(1, 14)))
    values = st.sampled_from([0, *sorted(annotated)])
    annotation = draw(arrays.arrays(np.uint8, shape, elements=values))
    if not annotated and draw(st.booleans()):
        annotation = None
    organs = draw(st.none() | arrays.arrays(np.uint8, shape, elements=st.integers(0, 14)))
    tumour = draw(st.none() | arrays.arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 14])))
    return shape, annotation, annotated, organs, tumour


def empty_if_none(array, shape):
    return np.zeros(shape, np.uint8) if array is None else array


@AT_ANY_SPEED
@given(situations())
def test_each_voxel_gets_the_first_source_that_has_a_say(situation):
    shape, annotation, annotated, organs, tumour = situation
    fused = fuse(*situation)
    for place in np.ndindex(shape):
        if tumour is not None and tumour[place] and TUMOUR not in annotated:
            expected = TUMOUR, Source.TUMOUR_PSEUDO
        elif annotation is not None and annotation[place]:
            expected = annotation[place], Source.ANNOTATION
        elif organs is not None and organs[place] and organs[place] not in annotated | {TUMOUR}:
            expected = organs[place], Source.ORGAN_PSEUDO
        else:
            expected = 0, Source.BACKGROUND
        assert (fused.labels[place], fused.source[place]) == expected


@AT_ANY_SPEED
@given(situations())
def test_an_annotated_class_is_where_the_annotation_says_and_nowhere_else(situation):
    shape, annotation, annotated, _, tumour = situation
    fused = fuse(*situation)
    hidden = (empty_if_none(tumour, shape) != 0) & (TUMOUR not in annotated)
    for value in annotated:
        assert np.array_equal(fused.labels == value, (annotation == value) & ~hidden)


@AT_ANY_SPEED
@given(
    truth=arrays.arrays(np.uint8, (2, 3, 3), elements=st.integers(0, 14)),
    under_tumours=st.integers(0, 13),
    annotated=st.frozensets(st.integers(1, 14)),
)
def test_sources_that_tell_the_truth_give_the_truth(truth, under_tumours, annotated):
    annotation = np.where(np.isin(truth, list(annotated)), truth, 0)
    organs = np.where(truth == TUMOUR, under_tumours, truth)
    fused = fuse(truth.shape, annotation, annotated, organs, truth == TUMOUR)
    assert np.array_equal(fused.labels, truth)


@AT_ANY_SPEED
@given(situations())
def test_no_voxel_of_any_source_is_lost_from_the_account(situation):
    _, annotation, _, organs, tumour = situation
    fused = fuse(*situation)
    offered = {Source.ANNOTATION: annotation, Source.ORGAN_PSEUDO: organs, Source.TUMOUR_PSEUDO: tumour}
    assert set(fused.tallies) == {source for source, array in offered.items() if array is not None}
    for source, tally in fused.tallies.items():
        told = sum(sum(part.values()) for part in (tally.used, tally.removed, tally.covered))
        assert told == np.count_nonzero(offered[source])
        assert sum(tally.used.values()) == np.count_nonzero(fused.source == source)
    assert np.array_equal(fused.labels != 0, fused.source != Source.BACKGROUND)


@AT_ANY_SPEED
@given(situations())
def test_inputs_stay_as_they_are_and_fusing_again_changes_nothing(situation):
    shape, annotation, _, organs, tumour = situation
    before = [None if array is None else array.copy() for array in (annotation, organs, tumour)]
    fused = fuse(*situation)
    for array, copy in zip((annotation, organs, tumour), before, strict=True):
        assert copy is None or np.array_equal(array, copy)
    again = fuse(shape, fused.labels, EVERYTHING, organs, tumour)
    assert np.array_equal(again.labels, fused.labels)


@pytest.mark.parametrize(
    ("annotation", "annotated", "organs", "tumour", "said"),
    [
        ([[SPLEEN]], {LIVER}, [[0]], [[0]], r"the annotation holds the values \[3\]"),
        ([[0]], {LIVER}, [[15]], [[0]], r"the organ pseudo label holds the values \[15\]"),
        ([[0]], {LIVER}, [[300]], [[0]], "values from 300 to 300"),
        ([[0]], {LIVER}, [[-1]], [[0]], "values from -1"),
        ([[0]], {LIVER}, [[0.5]], [[0]], "the organ pseudo label is float64"),
        ([[0]], {LIVER}, [[0]], [[0.5]], "the tumour pseudo label is float64"),
        ([[0, 0]], {LIVER}, [[0]], [[0]], "the annotation is .*shape"),
        (None, {LIVER}, [[0]], [[0]], "there is no annotation"),
        ([[0]], {15}, [[0]], [[0]], r"\[15\] are no labels"),
    ],
)
def test_arrays_that_cannot_be_fused_are_refused(annotation, annotated, organs, tumour, said):
    given_arrays = [None if array is None else np.array(array) for array in (annotation, organs, tumour)]
    with pytest.raises(FusionError, match=said):
        fuse((1, 1), given_arrays[0], annotated, *given_arrays[1:])
