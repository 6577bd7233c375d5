"""Phantoms are patients: sides are right, organs have human size, blood shows the phase, a seed is a seed."""

import hashlib
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from scipy import ndimage

from harness.data.phantom import PhantomCase, make_case
from harness.data.phantom.patient import ORGANS, TUMOUR
from harness.errors import ConfigurationError

SMALL = (64, 64, 50)
TINY = (24, 24, 24)
POPULATION = 16

# Median ml: masses of ICRP Publication 89 for man and woman, averaged, at 1.05 g/ml.
REFERENCE_ML = {
    "liver": 1520,
    "spleen": 133,
    "right kidney": 140,
    "left kidney": 140,
    "stomach": 367,
    "right adrenal gland": 6.4,
    "left adrenal gland": 6.4,
    "gallbladder": 59,
}


@pytest.fixture(scope="module")
def population() -> list[PhantomCase]:
    return [make_case(seed=7, index=index, split="Tr", shape=SMALL) for index in range(1, POPULATION + 1)]


def centre_mm(case: PhantomCase, organ: str) -> np.ndarray | None:
    """The middle of an organ in RAS millimetres; None where it is absent or cut by the scan's ends."""
    found = np.argwhere(case.label == ORGANS[organ])
    if len(found) == 0 or found[:, 2].min() == 0 or found[:, 2].max() == case.label.shape[2] - 1:
        return None
    return case.affine[:3, :3] @ found.mean(0) + case.affine[:3, 3]


def offsets_mm(population: list[PhantomCase], organ: str, other: str) -> np.ndarray:
    """How far `organ` lies to the right, front and top of `other`, for each patient who shows both whole."""
    pairs = [(centre_mm(case, organ), centre_mm(case, other)) for case in population]
    offsets = [a - b for a, b in pairs if a is not None and b is not None]
    assert len(offsets) >= 3, f"too few patients show {organ} and {other}"
    return np.array(offsets)


def digest(case: PhantomCase) -> str:
    return hashlib.sha256(case.image_hu.tobytes() + case.label.tobytes()).hexdigest()


def test_a_case_has_the_promised_types_and_geometry():
    case = make_case(seed=3, index=2, shape=(24, 20, 18))
    assert case.case == "phantom_0002"
    assert case.image_hu.shape == case.label.shape == (24, 20, 18)
    assert (case.image_hu.dtype, case.label.dtype, case.affine.dtype) == (np.int16, np.uint8, np.float64)
    assert np.allclose(np.diag(case.affine), [*case.spacing_mm, 1.0])
    assert np.count_nonzero(case.affine[:3, :3]) == 3


def test_without_a_shape_slices_follow_the_protocol():
    case = make_case(seed=7, index=5)
    assert case.image_hu.shape[:2] == (128, 128)
    assert case.spacing_mm[2] in (2.5, 3.0, 4.0, 5.0)
    assert 195 <= case.image_hu.shape[2] * case.spacing_mm[2] <= 395


def test_the_same_arguments_give_the_same_voxels():
    first, second = (make_case(seed=7, index=4, shape=TINY) for _ in range(2))
    assert digest(first) == digest(second)
    assert first.facts == second.facts


def test_threads_of_the_numerical_library_do_not_change_a_voxel():
    script = (
        "import hashlib; from harness.data.phantom import make_case;"
        "c = make_case(seed=7, index=4, shape=(64, 64, 40));"
        "print(hashlib.sha256(c.image_hu.tobytes() + c.label.tobytes()).hexdigest())"
    )
    digests = set()
    for threads in ("1", "3"):
        names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
        environment = os.environ | dict.fromkeys(names, threads)
        done = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
        )
        digests.add(done.stdout.strip())
    assert len(digests) == 1


def test_seed_index_and_split_each_name_another_patient():
    cases = [
        make_case(seed=7, index=1, split="Val", shape=TINY),
        make_case(seed=8, index=1, split="Val", shape=TINY),
        make_case(seed=7, index=2, split="Val", shape=TINY),
        make_case(seed=7, index=1, split="Tr", shape=TINY),
        make_case(seed=7, index=1, split="Ts", shape=TINY),
    ]
    assert len({case.label.tobytes() for case in cases}) == len(cases)


def test_more_voxels_show_the_same_field_of_view_and_the_same_organs():
    coarse = make_case(seed=7, index=1, shape=(48, 48, 50))
    fine = make_case(seed=7, index=1, shape=(96, 96, 100))
    extents = [np.multiply(case.spacing_mm, case.label.shape) for case in (coarse, fine)]
    assert np.allclose(*extents)
    nodes = [
        np.rint(
            (coarse.affine[a, a] * np.arange(n) + coarse.affine[a, 3] - fine.affine[a, 3]) / fine.affine[a, a]
        )
        for a, n in enumerate(coarse.label.shape)
    ]
    seen = fine.label[np.ix_(*(node.astype(int) for node in nodes))]
    for organ in ("liver", "spleen", "stomach", "right kidney", "left kidney"):
        a, b = coarse.label == ORGANS[organ], seen == ORGANS[organ]
        assert 2 * np.sum(a & b) / (a.sum() + b.sum()) > 0.85, organ


def test_tumours_keep_their_place_and_size_whatever_the_sampling():
    compared = 0
    for index in range(1, 11):
        coarse, fine = (
            make_case(seed=7, index=index, split="Tr", shape=shape) for shape in ((48, 48, 52), (72, 72, 72))
        )
        # The smallest fall between the coarser voxels.
        large = [[t for t in case.facts["tumours"] if t["radius_mm"] > 8] for case in (coarse, fine)]
        assert large[0] == large[1]
        places, volumes = [], []
        for case in (coarse, fine):
            found = np.argwhere(case.label == TUMOUR)
            volumes.append(len(found) * np.prod(case.spacing_mm) / 1000)
            places.append(case.affine[:3, :3] @ found.mean(0) + case.affine[:3, 3] if len(found) else 0)
        if min(volumes) > 3:
            compared += 1
            assert 0.75 < volumes[0] / volumes[1] < 1.33, index
            assert np.linalg.norm(places[0] - places[1]) < 6, index
    assert compared >= 3


def test_how_a_scan_is_cut_into_slabs_changes_no_voxel(monkeypatch):
    whole = make_case(seed=7, index=3, shape=(64, 56, 60))
    monkeypatch.setattr("harness.data.phantom.case._SLAB_VOXELS", 64 * 56 * 7)
    assert digest(make_case(seed=7, index=3, shape=(64, 56, 60))) == digest(whole)


def test_every_organ_and_the_tumour_appear_in_a_small_population(population):
    seen = set().union(*(np.unique(case.label).tolist() for case in population))
    assert seen == {0, *ORGANS.values(), TUMOUR}


def test_a_missing_organ_is_told_and_is_not_there(population):
    told = [(case, organ) for case in population for organ in case.facts["missing"]]
    assert told, "no patient of this population lost an organ"
    for case, organ in told:
        assert not np.any(case.label == ORGANS[organ]), (case.case, organ)


def test_tumours_are_labelled_only_where_the_facts_tell_of_them(population):
    for case in population:
        assert np.any(case.label == TUMOUR) == bool(case.facts["tumours"]), case.case
    sites = {tumour["organ"] for case in population for tumour in case.facts["tumours"]}
    assert len(sites) >= 3


def test_facts_can_be_stored_as_json(population):
    for case in population:
        assert json.loads(json.dumps(case.facts)) == case.facts


@pytest.mark.parametrize(
    ("organ", "other", "axis", "side"),
    [
        ("liver", "spleen", 0, "right"),
        ("right kidney", "left kidney", 0, "right"),
        ("right adrenal gland", "left adrenal gland", 0, "right"),
        ("gallbladder", "stomach", 0, "right"),
        ("gallbladder", "right kidney", 1, "front"),
        ("stomach", "left kidney", 1, "front"),
        ("pancreas", "left kidney", 1, "front"),
        ("spleen", "left kidney", 2, "top"),
        ("right adrenal gland", "right kidney", 2, "top"),
        ("left adrenal gland", "left kidney", 2, "top"),
        ("stomach", "duodenum", 2, "top"),
    ],
)
def test_organs_lie_where_they_lie_in_people(population, organ, other, axis, side):
    offsets = offsets_mm(population, organ, other)[:, axis]
    assert np.all(offsets > 0), f"{organ} should lie to the {side} of {other}: {offsets.round()}"


def test_the_cava_runs_right_of_the_aorta(population):
    for case in population:
        for level in range(4, SMALL[2] - 4, 8):
            aorta, cava = (
                np.argwhere(case.label[:, :, level] == ORGANS[name])
                for name in ("aorta", "inferior vena cava")
            )
            if len(aorta) and len(cava):
                assert cava[:, 0].mean() > aorta[:, 0].mean(), (case.case, level)


@pytest.mark.parametrize("organ", REFERENCE_ML)
def test_the_median_volume_is_near_that_of_the_reference_person(population, organ):
    # Contents vary more than parenchyma; a balance finds more of an adrenal gland and less of a spleen, which
    # in life is full of blood.
    factor = 2.2 if organ in ("stomach", "gallbladder", "spleen") or "adrenal" in organ else 1.6
    volumes = [
        np.sum(case.label == ORGANS[organ]) * np.prod(case.spacing_mm) / 1000
        for case in population
        if centre_mm(case, organ) is not None
    ]
    assert len(volumes) >= 3
    assert 1 / factor < np.median(volumes) / REFERENCE_ML[organ] < factor


def test_the_two_kidneys_are_of_about_the_same_size(population):
    shares = []
    for case in population:
        sizes = [np.sum(case.label == ORGANS[f"{side} kidney"]) for side in ("right", "left")]
        if all(centre_mm(case, f"{side} kidney") is not None for side in ("right", "left")):
            shares.append(sizes[0] / sizes[1])
    assert len(shares) >= 3
    assert 0.65 < np.median(shares) < 1.5


def test_both_adrenal_glands_are_there_and_alike_in_volume_and_hu(population):
    rows = []
    for case in population:
        masks = [case.label == ORGANS[f"{side} adrenal gland"] for side in ("right", "left")]
        for side, mask in zip(("right", "left"), masks, strict=True):
            assert mask.any() or f"{side} adrenal gland" in case.facts["missing"], (case.case, side)
        if all(mask.sum() > 10 for mask in masks):
            rows.append([[mask.sum(), np.median(case.tissue_hu[mask])] for mask in masks])
    assert len(rows) >= 3
    right, left = np.median(rows, axis=0)
    assert 0.6 < right[0] / left[0] < 1.6
    assert abs(right[1] - left[1]) < 8


@pytest.mark.parametrize(
    ("organ", "bounds"),
    [
        (
            "liver",
            {"native": (0, 80), "arterial": (5, 95), "portal venous": (30, 150), "delayed": (30, 130)},
        ),
        (
            "spleen",
            {"native": (25, 72), "arterial": (75, 150), "portal venous": (80, 165), "delayed": (60, 130)},
        ),
        ("left kidney", {"native": (5, 55), "arterial": (80, 215), "portal venous": (100, 265)}),
    ],
)
def test_parenchyma_takes_up_contrast_medium_as_the_phase_says(population, organ, bounds):
    cross = ndimage.generate_binary_structure(3, 1)
    compared = 0
    for case in population:
        inner = ndimage.binary_erosion(case.label == ORGANS[organ], cross)
        if inner.sum() < 20 or case.facts["phase"] not in bounds:
            continue
        low, high = bounds[case.facts["phase"]]
        assert low < np.median(case.image_hu[inner]) < high, case.case
        compared += 1
    assert compared >= 4


def test_the_body_is_wider_at_the_hip_than_at_the_waist():
    def width_mm(case, height):
        level = int((height * case.facts["scale"] - case.affine[2, 3]) / case.affine[2, 2])
        row = int((40 - case.affine[1, 3]) / case.affine[1, 1])
        return np.sum(case.image_hu[:, row, level] > -300) * case.spacing_mm[0] if level >= 0 else None

    compared = 0
    for index in range(1, 9):
        case = make_case(seed=1, index=index, shape=(48, 48, 50))
        waist, hip = width_mm(case, 10), width_mm(case, -150)
        if hip is not None and not case.facts["arms_down"]:
            assert hip > 1.05 * waist, index
            compared += 1
    assert compared >= 3


def test_blood_tells_the_contrast_phase(population):
    bounds = {"native": (25, 65), "arterial": (200, 420), "portal venous": (110, 210), "delayed": (75, 150)}
    assert {case.facts["phase"] for case in population} >= {"native", "portal venous"}
    for case in population:
        low, high = bounds[case.facts["phase"]]
        # Without its rim, which shares voxels with fat.
        cross = ndimage.generate_binary_structure(2, 1)[..., None]
        inner = ndimage.binary_erosion(case.label == ORGANS["aorta"], cross)
        assert low < np.median(case.image_hu[inner]) < high, case.case


def test_air_lies_round_the_patient_and_fat_under_the_skin(population):
    for case in population:
        corners = case.image_hu[[0, -1], -1]  # beside the belly, above the table
        assert -1024 <= np.median(corners) < -900
        fat = (case.image_hu > -140) & (case.image_hu < -70)
        bone = case.image_hu > 250
        assert 0.01 < fat.mean() < 0.6
        assert bone.mean() > 0.002


def test_noise_differs_between_patients(population):
    spread = [
        np.std(case.image_hu[case.label == ORGANS["spleen"]])
        for case in population
        if centre_mm(case, "spleen") is not None
    ]
    assert max(spread) > 1.3 * min(spread)


@pytest.mark.parametrize("request_", [{"split": "Test"}, {"shape": (8, 128, 64)}])
def test_a_phantom_that_cannot_be_made_is_refused(request_):
    with pytest.raises(ConfigurationError):
        make_case(seed=1, index=1, **request_)
