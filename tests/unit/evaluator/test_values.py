"""Stored numbers become labels by one rule, and a refusal names what they most likely are."""

from __future__ import annotations

import struct
from pathlib import Path

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray
from volumes import ONE_LABEL, blobs, save, table

from evaluator import LabelValueError, read_label_volume, score_case
from evaluator.values import count_values, notes_on_labels

SHAPE = (9, 7, 5)


def scaled(path: Path, stored: NDArray, slope: float, intercept: float = 0.0) -> Path:
    """Write an array with a slope and an intercept in its header."""
    content = bytearray(nibabel.Nifti1Image(stored, np.eye(4)).to_bytes())
    struct.pack_into("<2f", content, 112, slope, intercept)
    path.write_bytes(content)
    return path


def reason(path: Path) -> str:
    with pytest.raises(LabelValueError) as caught:
        read_label_volume(path)
    return f"{caught.value.what}. {caught.value.mend}"


@pytest.mark.parametrize("slope", [0.0, float("nan"), float("inf"), 1.0, 0.99999, 1.00001, 0.9999999])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_a_slope_that_says_nothing_changes_nothing(tmp_path: Path, slope: float, dtype: type) -> None:
    array = blobs(SHAPE, seed=1, labels=200).astype(dtype)
    assert np.array_equal(read_label_volume(scaled(tmp_path / "a.nii", array, slope)).array, array)


@pytest.mark.parametrize("stored", [np.uint8, np.int8, np.int16, np.uint16])
@pytest.mark.parametrize("highest", [1, 2, 13, 117])
def test_labels_that_a_writer_fitted_into_small_integers_come_back(
    tmp_path: Path, stored: type, highest: int
) -> None:
    array = np.random.default_rng(1).integers(0, highest + 1, SHAPE)
    array[0, 0, 0], array[1, 0, 0] = 0, highest
    header = nibabel.Nifti1Header()
    header.set_data_dtype(stored)
    nibabel.save(nibabel.Nifti1Image(array.astype(float), np.eye(4), header), tmp_path / "a.nii.gz")
    volume = read_label_volume(tmp_path / "a.nii.gz")
    assert np.array_equal(volume.array, array)
    off = np.abs(nibabel.load(tmp_path / "a.nii.gz").get_fdata() - array).max()
    assert any("half a step" in note for note in volume.notes) == (off > 1e-3)


def test_a_coarse_slope_hides_no_fractions(tmp_path: Path) -> None:
    path = scaled(tmp_path / "a.nii", blobs(SHAPE, seed=1), 0.9882)
    assert "no whole number" in reason(path) and "rescaled" in reason(path)
    assert "no whole number" in reason(scaled(tmp_path / "b.nii", blobs(SHAPE, seed=1), 0.5, 3.0))


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (blobs(SHAPE, seed=1) * 0.9882, "rescaled"),
        (np.where(blobs(SHAPE, seed=1) == 2, 1.5, blobs(SHAPE, seed=1)), "interpolated"),
        (np.random.default_rng(0).random(SHAPE), "probabilities"),
        (np.where(blobs(SHAPE, seed=1) == 2, np.nan, 0), "division by zero"),
        (blobs(SHAPE, seed=1).astype(np.int16) * 100, "multiples of 100"),
        (blobs(SHAPE, seed=1).astype(np.int16) - 1, "was 1 subtracted"),
        (np.random.default_rng(0).integers(-1000, 1000, SHAPE).astype(np.int16), "intensities"),
        (np.full(SHAPE, 1e300), "1e[+]?300"),
        (np.full(SHAPE, 301.0), "label 301"),
    ],
)
def test_a_refusal_names_the_likely_cause(tmp_path: Path, array: NDArray, said: str) -> None:
    import re

    assert re.search(said, reason(save(tmp_path / "a.nii.gz", array)))


def test_a_mask_of_0_and_255_is_told_so(tmp_path: Path) -> None:
    mask = blobs(SHAPE, seed=1, labels=1)
    reference, prediction = save(tmp_path / "a.nii", mask), save(tmp_path / "b.nii", mask * 255)
    notes = " ".join(score_case(reference, prediction, labels=ONE_LABEL).notes)
    assert "not scored: 255" in notes and "masks of 0 and 255" in notes and "no voxel of 1" in notes


def test_another_numbering_is_told_in_both_directions(tmp_path: Path) -> None:
    array = blobs(SHAPE, seed=11, labels=3)
    reference = save(tmp_path / "a.nii", array)
    prediction = save(tmp_path / "b.nii", np.where(array == 3, 15, array).astype(np.uint8))
    notes = " ".join(score_case(reference, prediction, labels=table(1.0, 1.0, 1.0)).notes)
    assert "not scored: 15" in notes and "no voxel of 3" in notes
    assert score_case(reference, reference, labels=table(1.0, 1.0, 1.0)).notes == ()


def test_labels_that_this_case_does_not_annotate_are_no_strange_ones(tmp_path: Path) -> None:
    reference = save(tmp_path / "a.nii", blobs(SHAPE, seed=11, labels=3))
    notes = score_case(reference, reference, labels=table(1.0, 1.0, 1.0), annotated=[1]).notes
    assert not any("not scored: 2" in note for note in notes)


def test_values_are_counted_in_pieces() -> None:
    array = np.asfortranarray(np.random.default_rng(0).integers(0, 256, (200, 200, 60)).astype(np.uint8))
    assert np.array_equal(count_values(array), np.bincount(array.ravel(), minlength=256))
    assert notes_on_labels(count_values(np.zeros(SHAPE, np.uint8)), [1]) == ()
