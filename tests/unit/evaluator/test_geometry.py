"""Wrong geometry is named; a flip or axis swap that the affine explains is undone."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from volumes import ONE_LABEL, blobs, save, table

from evaluator import GeometryError, compare_geometry, read_header, read_label_volume, score_case

SPACING = (0.8, 0.8, 2.5)
AFFINE = np.array([[-0.8, 0, 0, 100], [0, -0.8, 0, 80], [0, 0, 2.5, -300], [0, 0, 0, 1.0]])


@dataclass(frozen=True)
class Grid:
    """A grid without voxels."""

    shape: tuple[int, int, int] = (30, 20, 10)
    spacing_mm: tuple[float, float, float] = SPACING
    affine: NDArray[np.float64] | None = None
    has_orientation: bool = True


REFERENCE = Grid(affine=AFFINE)


def other(change: NDArray | None = None, **fields: object) -> Grid:
    """Return the reference's grid with its affine multiplied from the left, and fields replaced."""
    affine = AFFINE if change is None else change @ AFFINE
    return Grid(**{"affine": affine, **fields})  # type: ignore[arg-type]


def moved(x: float, y: float, z: float) -> NDArray:
    change = np.eye(4)
    change[:3, 3] = x, y, z
    return change


def turned(degrees: float) -> NDArray:
    angle = math.radians(degrees)
    change = np.eye(4)
    change[:2, :2] = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    return change


@pytest.mark.parametrize(
    ("grid", "text"),
    [
        (other(shape=(30, 20, 11)), "shape 30x20x11 against 30x20x10"),
        (
            other(spacing_mm=(1, 1, 5), affine=AFFINE @ np.diag([1 / 0.8, 1 / 0.8, 2, 1])),
            "spacing 1x1x5 against 0.8x0.8x2.5 mm",
        ),
        (other(moved(20, 0, 0)), "shifted by 20 mm (20 mm right)"),
        (other(moved(0, -3, 4)), "shifted by 5 mm (3 mm posterior, 4 mm superior)"),
        (other(turned(10)), "rotated by 10 degrees"),
        (other(np.diag([-1.0, -1, 1, 1])), "world x and y negated"),
        (
            other(affine=AFFINE @ np.diag([-1.0, 1, 1, 1])),
            "stored flipped along x, but not on the same place",
        ),
    ],
)
def test_another_grid_is_diagnosed(grid: Grid, text: str) -> None:
    diagnosis = compare_geometry(REFERENCE, grid)
    assert diagnosis.kind == "different"
    assert diagnosis.text.startswith(text)


@pytest.mark.parametrize("error_mm", [0.0, 1e-5, 0.01])
def test_rounding_of_the_affine_is_no_difference(error_mm: float) -> None:
    assert compare_geometry(REFERENCE, other(moved(error_mm, 0, error_mm))).kind == "same"


@pytest.mark.parametrize(("first", "second"), [(True, False), (False, True), (False, False)])
def test_shape_and_spacing_decide_where_a_file_does_not_say_where_it_lies(first: bool, second: bool) -> None:
    far = moved(500, 0, 0)
    one = other(has_orientation=first)
    assert compare_geometry(one, other(far, has_orientation=second)).kind == "same"
    different = compare_geometry(one, other(far, has_orientation=second, spacing_mm=(1, 1, 1)))
    assert different.kind == "different" and "spacing 1x1x1" in different.text
    assert compare_geometry(Grid(), Grid()).kind == "same"
    assert compare_geometry(Grid(), Grid(shape=(1, 2, 3))).text == "shape 1x2x3 against 30x20x10"


def stored_otherwise(
    array: NDArray, affine: NDArray, axes: tuple[int, ...], flips: tuple[bool, ...]
) -> tuple[NDArray, NDArray]:
    """Return the same segmentation with its array axes swapped and reversed, and the affine that says so."""
    turn = np.zeros((4, 4))
    turn[3, 3] = 1
    for new, old in enumerate(axes):
        turn[old, new] = -1 if flips[new] else 1
        turn[old, 3] = array.shape[old] - 1 if flips[new] else 0
    array = np.transpose(array, axes)[tuple(np.s_[::-1] if flip else np.s_[:] for flip in flips)]
    return array, affine @ turn


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("flips", list(itertools.product([False, True], repeat=3)))
def test_all_48_ways_to_store_a_volume_score_the_same(tmp_path: Path, axes: tuple, flips: tuple) -> None:
    array = blobs((9, 7, 6), seed=11, labels=6)
    changed = np.roll(array, 1, axis=0)
    reference = save(tmp_path / "a.nii.gz", array, affine=AFFINE)
    plain = save(tmp_path / "b.nii.gz", changed, affine=AFFINE)
    stored, affine = stored_otherwise(changed, AFFINE, axes, flips)
    prediction = save(tmp_path / "c.nii.gz", stored, affine=affine)
    labels = table(1.0, 2.0, 3.0, 1.0, 2.0, 3.0)
    expected = score_case(reference, plain, labels=labels, case="a")
    found = score_case(reference, prediction, labels=labels, case="a")
    assert found.labels == expected.labels
    diagnosis = compare_geometry(read_header(reference), read_header(prediction))
    is_same = axes == (0, 1, 2) and not any(flips)
    assert diagnosis.kind == ("same" if is_same else "reorientable")
    assert len(found.notes) == (0 if is_same else 1)


def test_the_note_says_how_a_prediction_was_stored(tmp_path: Path) -> None:
    array = blobs((9, 7, 6), seed=11, labels=1)
    reference = save(tmp_path / "a.nii.gz", array, affine=AFFINE)
    for axes, flips, text in [
        ((0, 1, 2), (True, False, False), "stored flipped along x"),
        ((0, 1, 2), (True, True, False), "stored flipped along x and y"),
        ((2, 1, 0), (False, False, False), "stored with its axes in the order z,y,x"),
        ((1, 2, 0), (False, False, False), "stored with its axes in the order y,z,x"),
    ]:
        stored, affine = stored_otherwise(array, AFFINE, axes, flips)
        prediction = save(tmp_path / "b.nii.gz", stored, affine=affine)
        (note,) = score_case(reference, prediction, labels=ONE_LABEL).notes
        assert note == f"the prediction was {text}, and was reoriented"


def test_a_prediction_on_another_grid_is_refused_with_the_diagnosis(tmp_path: Path) -> None:
    array = blobs((9, 7, 6), seed=11)
    reference = save(tmp_path / "a.nii.gz", array, affine=AFFINE)
    prediction = save(tmp_path / "b.nii.gz", array, affine=moved(20, 0, 0) @ AFFINE)
    with pytest.raises(GeometryError, match="shifted by 20 mm") as caught:
        score_case(reference, prediction, labels=ONE_LABEL)
    assert str(prediction) in str(caught.value)


def test_anisotropic_spacing_goes_with_its_axis(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz", blobs((9, 7, 6), seed=1), affine=AFFINE)
    volume = read_label_volume(path)
    assert volume.array.shape == (9, 7, 6)
    assert volume.spacing_mm == pytest.approx(SPACING)
