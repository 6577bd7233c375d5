"""A prediction on any grid that its image's header states is taken as it is; a wrong one is explained."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import SimpleITK
from headers import (
    DIM,
    PIXDIM,
    SHAPE,
    SIZES_MM,
    UNITS,
    by_itk,
    by_nibabel,
    in_micrometres,
    placed,
    rewrite,
    scan,
    two_organs,
    with_forms,
)
from surface_distance import (
    compute_dice_coefficient,
    compute_surface_dice_at_tolerance,
    compute_surface_distances,
)

ELSEWHERE = placed(corner_mm=(55.0, -8.0, 21.0))
GEOMETRY = ("grid", "geometry", "origin", "affine", "spacing")
NOT_WRITTEN = ("no geometry", "identity")


def mirrored_in_place() -> np.ndarray:
    """The upright grid with its first axis counted from the other end: the same voxels in mirrored order."""
    affine = placed()
    affine[0, 3] += (SHAPE[0] - 1) * SIZES_MM[0]
    affine[0, 0] = -SIZES_MM[0]
    return affine


def sheared() -> np.ndarray:
    affine = placed()
    affine[0, 2] = 0.4
    return affine


def with_axes_exchanged() -> np.ndarray:
    affine = np.eye(4)
    affine[:3] = [[0.9, 0, 0, 10], [0, 0, 3.0, 20], [0, -0.7, 0, 30]]
    return affine


STATED = {
    "two places": {"sform": placed(), "qform": ELSEWHERE},
    "slightly apart": {"sform": placed(), "qform": placed(corner_mm=(-29.5, 13.2, 105.1), turned_deg=3.0)},
    "mirror images": {"sform": placed(), "qform": mirrored_in_place()},
    "exchanged axes": {"sform": placed(), "qform": with_axes_exchanged()},
    "pixdim of 1": {"sform": placed(), "qform": None, "codes": (1, 0), "pixdim_mm": (1.0, 1.0, 1.0)},
    "sheared": {"sform": sheared(), "qform": placed(), "codes": (1, 1), "pixdim_mm": SIZES_MM},
}


def write_both(desk, forms):
    with_forms(desk.image(), scan(), **forms)
    with_forms(desk.label(), two_organs(), **forms)


@pytest.mark.parametrize("program", ["nibabel", "SimpleITK"])
@pytest.mark.parametrize("forms", STATED.values(), ids=STATED)
def test_the_gate_takes_what_either_program_makes_of_the_image(desk, forms, program):
    write_both(desk, forms)
    if program == "SimpleITK":
        by_itk(desk.prediction(), two_organs(), like=desk.image())
    else:
        desk.predict(affine=nibabel.load(desk.image()).affine)
    assert desk.score().is_perfect()


@pytest.mark.parametrize("forms", STATED.values(), ids=STATED)
def test_the_evaluator_takes_it_by_the_references_own_header(desk, forms):
    with_forms(desk.reference(), two_organs(), **forms)
    by_itk(desk.prediction(), two_organs(), like=desk.reference())
    assert desk.evaluator().is_perfect()


def test_a_reference_by_one_program_and_a_prediction_by_another(desk):
    with_forms(desk.image(), scan(), **STATED["two places"])
    by_itk(desk.label(), two_organs(), like=desk.image())
    desk.predict(affine=nibabel.load(desk.image()).affine)
    assert desk.score().is_perfect()


def test_the_organiser_is_told_of_an_image_that_states_two_places(desk):
    write_both(desk, STATED["two places"])
    answer = desk.check()
    assert answer.exit_code == 0
    assert answer.says("sform") and answer.says("qform")


WRONG_REFERENCES = {
    "identity": np.eye(4),
    "12 mm higher": placed(corner_mm=(-31.0, 12.5, 116.0)),
    "turned by 5 degrees": placed(turned_deg=5.0),
    "larger voxels": placed((1.0, 0.7, 3.0)),
}


@pytest.mark.parametrize("affine", WRONG_REFERENCES.values(), ids=WRONG_REFERENCES)
def test_a_reference_off_its_images_grid_stops_everything_before_it_starts(desk, affine):
    by_nibabel(desk.image("scan_4"), scan())
    by_nibabel(desk.label("scan_4"), two_organs(), affine)
    by_nibabel(desk.prediction("scan_4"), two_organs())
    for answer in (desk.check(), desk.score()):
        assert answer.stops(*GEOMETRY) and answer.says("scan_4")


def test_micrometres_that_nibabel_copies_without_the_unit(desk):
    in_micrometres(desk.image(), scan())
    in_micrometres(desk.label(), two_organs())
    desk.predict(affine=nibabel.load(desk.image()).affine)
    assert desk.score().is_perfect()


@pytest.mark.parametrize("unit", [0, 1, 3])
def test_a_wrong_unit_in_the_prediction(desk, unit):
    desk.plain()
    by_nibabel(desk.reference(), two_organs())
    rewrite(desk.predict(), "<B", UNITS, unit)
    assert desk.score().is_perfect()
    assert desk.evaluator().is_perfect()


def test_a_wrong_unit_in_image_and_reference(desk):
    desk.plain()
    for path in (desk.image(), desk.label()):
        rewrite(path, "<B", UNITS, 3)
    desk.predict()
    answer = desk.score()
    assert answer.is_perfect() or answer.stops("unit", "micro")


@pytest.mark.filterwarnings("ignore:Please import:DeprecationWarning")  # within surface-distance
def test_the_flare_profile_reads_the_zooms_as_they_stand(desk):
    reference, prediction = two_organs(), np.roll(two_organs(), 1, axis=0)
    in_micrometres(desk.reference(), reference)
    in_micrometres(desk.prediction(), prediction)
    found = compute_surface_distances(reference == 1, prediction == 1, [1000 * size for size in SIZES_MM])
    dsc, nsd = desk.evaluator("--profile", "flare", challenge="flare22").scores["a", 1]
    assert dsc == pytest.approx(compute_dice_coefficient(reference == 1, prediction == 1), abs=5e-5)
    assert nsd == pytest.approx(compute_surface_dice_at_tolerance(found, 5.0), abs=5e-5)


def test_no_geometry_written_by_simpleitk(desk):
    desk.plain()
    desk.prediction().parent.mkdir()
    array = SimpleITK.GetImageFromArray(np.ascontiguousarray(two_organs().T))
    SimpleITK.WriteImage(array, str(desk.prediction()))
    answer = desk.score()
    assert answer.refuses(*NOT_WRITTEN) and answer.says("copy")


def test_no_geometry_written_by_nibabel(desk):
    desk.plain()
    desk.predict(affine=np.eye(4))
    answer = desk.score()
    assert answer.refuses(*NOT_WRITTEN) and answer.says("copy")


def test_axes_in_reverse_order(desk):
    desk.plain()
    desk.predict(np.ascontiguousarray(two_organs().T), affine=np.eye(4))
    assert desk.score().refuses("reverse order", "z, y, x")


@pytest.mark.parametrize("axes", [1, 2])
def test_axes_of_batch_and_channel_that_stayed(desk, axes):
    desk.plain()
    desk.predict(two_organs()[(None,) * axes])
    answer = desk.score()
    assert answer.is_perfect() or answer.refuses("first ax", "squeeze", "leading")


def test_a_fourth_size_of_zero(desk):
    desk.plain()
    rewrite(desk.predict(), "<8h", DIM, 4, *SHAPE, 0, 0, 0, 0)
    assert desk.score().is_perfect()


def test_a_flat_image_that_simpleitk_answers_with_a_flat_one(desk):
    by_nibabel(desk.image(), scan()[:, :, 0])
    by_nibabel(desk.label(), two_organs()[:, :, 6])
    by_itk(desk.prediction(), two_organs()[:, :, 6], like=desk.image())
    assert desk.score().is_perfect()


def test_a_size_of_zero_beside_a_whole_sform(desk):
    desk.plain()
    rewrite(desk.predict(), "<f", PIXDIM + 8, 0.0)
    assert desk.score().is_perfect()
