"""Phantoms differ as patients and scans do: views, contact, warps, tumours; and show tissue without noise."""

import numpy as np
import pytest
from scipy import ndimage

from harness.data.phantom import PhantomCase, make_case
from harness.data.phantom.canvas import Canvas, Grid
from harness.data.phantom.patient import ORGANS, TUMOUR, draw_patient
from harness.data.phantom.scanner import draw_protocol
from harness.data.phantom.shapes import Blend, Ellipsoid, Tube
from harness.data.phantom.tumours import draw_tumours
from harness.data.phantom.warp import Warp, pushed, pushed_radius_mm
from harness.errors import ConfigurationError

SMALL = (48, 48, 40)


def patients(count: int):
    return [draw_patient(np.random.default_rng([5, number])) for number in range(count)]


def protocols(view: str, count: int = 120):
    return [
        (patient, draw_protocol(patient, np.random.default_rng([6, number]), view))
        for number, patient in enumerate(patients(count))
    ]


@pytest.fixture(scope="module")
def anywhere() -> list[PhantomCase]:
    return [make_case(seed=4, index=index, shape=SMALL, view="anywhere") for index in range(1, 13)]


def share(told) -> float:
    return float(np.mean(list(told)))


def test_a_third_of_the_patients_is_lean_and_in_some_organs_touch():
    drawn = patients(400)
    assert 0.27 < share(patient.fat < 0.4 for patient in drawn) < 0.43
    assert 0.32 < share(patient.apart == 0 for patient in drawn) < 0.48
    assert 0.09 < share(patient.oral_hu is not None for patient in drawn) < 0.21
    assert max(patient.fat for patient in drawn) > 1.5


def test_less_variety_brings_the_same_patients_organs_nearer_to_their_usual_places():
    usual, narrow, alike = (
        [draw_patient(np.random.default_rng([5, number]), variety=variety) for number in range(20)]
        for variety in (1.0, 0.4, 0.0)
    )
    for one, other, none in zip(usual, narrow, alike, strict=True):
        assert (one.scale, one.phase) == (other.scale, other.phase)
        for organ, move in one.moved_mm.items():
            assert np.allclose(other.moved_mm[organ], 0.4 * move)
        assert np.array_equal(none.at(50, 20, 30, spread_mm=9), none.scale * np.array((50, 20, 30)))
        assert none.vary(0.2) == 1


def test_without_variety_nothing_is_bent_beyond_the_spines_curve():
    axes = tuple(np.arange(-40, 41, 20, dtype=np.float32) for _ in range(3))
    x, y, z = Warp(np.random.default_rng(1), lambda height: 0.0 * height, variety=0.0).points(axes)
    for moved, told in zip((x, y, z), np.meshgrid(*axes, indexing="ij"), strict=True):
        assert np.allclose(moved, told, atol=1e-4)


def test_a_variety_that_is_no_share_is_refused():
    with pytest.raises(ConfigurationError, match="is no share"):
        make_case(seed=4, index=1, shape=SMALL, variety=1.5)


def test_about_half_of_the_patients_have_tumours_from_small_to_large():
    drawn = [draw_tumours(patient) for patient in patients(300)]
    radii = [tumour.radius_mm for tumours in drawn for tumour in tumours]
    assert 0.42 < share(bool(tumours) for tumours in drawn) < 0.65
    assert min(radii) < 5
    assert max(radii) > 30
    assert all(4 <= radius <= 40 for radius in radii)
    assert {tumour.organ for tumours in drawn for tumour in tumours} >= {"liver", "pancreas", "spleen", ""}


def test_a_view_of_the_abdomen_is_long_and_shows_the_whole_width():
    for patient, protocol in protocols("abdomen"):
        assert 200 <= protocol.length_mm <= 390
        assert protocol.field_of_view_mm > 2 * (patient.half_width_mm + patient.skin_mm)


def test_a_view_from_anywhere_holds_slabs_cuts_and_whole_trunks():
    drawn = protocols("anywhere")
    assert 0.15 < share(protocol.length_mm < 150 for _, protocol in drawn) < 0.35
    cut = [p.field_of_view_mm < 1.9 * (patient.half_width_mm + patient.skin_mm) for patient, p in drawn]
    assert 0.05 < share(cut) < 0.25
    ends = [(p.centre_mm[2] - p.length_mm / 2, p.centre_mm[2] + p.length_mm / 2) for _, p in drawn]
    assert min(low for low, _ in ends) < -350
    assert max(high for _, high in ends) > 320


def test_both_views_show_the_same_patient():
    near, far = (make_case(seed=4, index=2, shape=SMALL, view=view) for view in ("abdomen", "anywhere"))
    assert near.facts["phase"] == far.facts["phase"]
    assert near.facts["missing"] == far.facts["missing"]
    assert not np.allclose(near.affine, far.affine)


def test_how_a_long_scan_is_cut_into_slabs_changes_no_voxel(monkeypatch):
    def shown(index):
        case = make_case(seed=4, index=index, shape=(40, 40, 48), view="anywhere")
        return case.image_hu.tobytes() + case.label.tobytes()

    whole = [shown(index) for index in (1, 2)]
    monkeypatch.setattr("harness.data.phantom.case._SLAB_VOXELS", 40 * 40 * 7)
    assert [shown(index) for index in (1, 2)] == whole


def test_cases_from_anywhere_differ_in_the_organs_they_show(anywhere):
    shown = [frozenset(np.unique(case.label)) for case in anywhere]
    assert len(set(shown)) > 6
    assert set().union(*shown) == {0, *ORGANS.values(), TUMOUR}


def test_tissue_is_what_the_scanner_saw_without_noise(anywhere):
    for case in anywhere:
        assert case.tissue_hu.dtype == np.int16
        assert case.tissue_hu.shape == case.image_hu.shape
        inner = ndimage.binary_erosion(case.label == ORGANS["liver"], iterations=2)
        if inner.sum() < 50:
            continue
        clean, seen = case.tissue_hu[inner].astype(float), case.image_hu[inner].astype(float)
        assert abs(np.median(clean) - np.median(seen)) < 12, case.case
        quiet, loud = (np.median(np.abs(v - np.median(v))) for v in (clean, seen))
        assert quiet < loud + 1, case.case


def test_in_some_patients_liver_and_right_kidney_touch_and_in_others_they_do_not():
    def contact(case: PhantomCase) -> bool:
        grown = ndimage.binary_dilation(case.label == ORGANS["liver"])
        return bool(np.sum(grown & (case.label == ORGANS["right kidney"])) > 5)

    told = [contact(make_case(seed=4, index=index, split="Tr", shape=(64, 64, 40))) for index in range(1, 9)]
    assert any(told)
    assert not all(told)


@pytest.mark.parametrize("number", range(6))
def test_the_warp_folds_nowhere(number):
    warp = Warp(np.random.default_rng(number), lambda z: 0.1 * z)
    axes = tuple(np.arange(low, low + 150, 5, dtype=np.float32) for low in (-75, -40, -60))
    gradient = [np.gradient(place, 5.0) for place in warp.points(axes)]
    jacobian = np.moveaxis(np.array(gradient), (0, 1), (-2, -1))
    assert np.linalg.det(jacobian).min() > 0
    assert warp.strength > 0.4


@pytest.mark.parametrize("upright", [False, True])
@pytest.mark.parametrize(
    "shape",
    [
        Ellipsoid(np.array((60.0, -9.0, -12.0)), np.array((27.0, 30.0, 55.0))),
        Tube((np.array((-9.0, 30.0, 0.0)), np.array((-14.0, 8.0, 200.0))), (2.0, 2.0)),
        Blend((Ellipsoid(np.array((-34.0, 20.0, 40.0)), np.full(3, 4.0)),), blend_mm=2.0),
    ],
)
def test_the_box_of_a_shape_leaves_none_of_it_out(shape, upright):
    for number in range(4):
        rng = np.random.default_rng(number)
        warp = Warp(rng, lambda z: 0.08 * z)
        warp.push(np.array((50.0, 20.0, 10.0)), 30.0, 0.5)
        canvas = Canvas(
            Grid((60, 50, 70), (5.0, 5.0, 5.0), (-150.0, -100.0, -140.0)), slice(0, 70), warp=warp, texture={}
        )
        canvas.push(np.array((50.0, 20.0, 10.0)), 30.0, 0.5)
        inside = canvas.field(shape, canvas.everywhere, upright=upright) < 3
        assert inside.any()
        inside[canvas.box(shape, 3.0, upright=upright)] = False
        assert not inside.any()


def test_a_mass_pushes_its_surroundings_outwards_and_keeps_its_own_size():
    axis = np.arange(-60.0, 61.0, 1.0, dtype=np.float32)
    x, y, z = axis.copy(), np.zeros_like(axis), np.zeros_like(axis)
    pushed((x, y, z), np.zeros(3), 20.0, 0.5)
    assert np.all(np.diff(x) > 0)
    assert np.all(np.abs(x) <= np.abs(axis))
    assert np.allclose(x[np.abs(axis) > 58], axis[np.abs(axis) > 58], atol=0.5)
    edge = np.abs(x) < pushed_radius_mm(20.0, 0.5)
    assert np.ptp(axis[edge]) == pytest.approx(40, abs=2)
