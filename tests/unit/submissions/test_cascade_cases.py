"""What the cascade is trained on: cases made ready, patches drawn from them, and how they are turned."""

# ruff: noqa: E402 - torch is looked for before what needs it
from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import SimpleITK as sitk
from cascade.train.augment import Augmentation, turned
from cascade.train.cases import TrainingDataError, patch_at, prepare_cases
from cascade.train.sampler import Sampler, fixed_samples

from .cascade_cases import PLAN, SCHEDULE, make_data, prepared


@pytest.fixture
def data(tmp_path):
    """Two cases with two organs and a lesion, stored flipped."""
    return make_data(tmp_path / "data")


def test_location_cases_are_the_whole_scan_with_one_label(data, tmp_path):
    (case, _) = prepared(data, tmp_path, "location")
    assert case.image().shape == (64, 64, 64)
    assert np.unique(case.labels()).tolist() == [0, 1]
    # Stored flipped, so the organ at the stored (8.., 14, 13) of 40 lies at 39 - that.
    assert case.labels()[26, 40, 40] == 1


def test_organ_cases_are_the_region_on_the_grid_without_lesion_labels(data, tmp_path):
    (case, _) = prepared(data, tmp_path, "organs")
    # 12 slices of 6 mm, 20 rows and 18 columns of 4 mm; 8 mm more on every side, out to whole voxels.
    assert case.image().shape == (24, 24, 22)
    assert case.image().dtype == np.float16
    assert np.unique(case.labels()).tolist() == [0, 1, 13]
    places, counts = case.places()
    for label in (1, 13):
        assert (case.labels()[tuple(places[label].T)] == label).all()
        assert counts[label] == (case.labels() == label).sum()


def test_preparing_is_done_once_and_refused_for_another_recipe(data, tmp_path):
    (case, _) = prepared(data, tmp_path, "organs")
    written = (case.folder / "image.npy").stat().st_mtime_ns
    prepared(data, tmp_path, "organs")
    assert (case.folder / "image.npy").stat().st_mtime_ns == written
    other = dataclasses.replace(PLAN, organs=dataclasses.replace(PLAN.organs, spacing_mm=(5.0, 4.0, 4.0)))
    with pytest.raises(TrainingDataError, match="another recipe"):
        prepared(data, tmp_path, "organs", other)


def test_a_missing_label_and_a_label_on_another_grid_are_named(data, tmp_path):
    path = data / "labelsTr/case1.nii.gz"
    sitk.WriteImage(sitk.ReadImage(str(path))[1:], str(path))
    with pytest.raises(TrainingDataError, match=r"case1\.nii\.gz: shape"):
        prepared(data, tmp_path, "organs")
    path.unlink()
    with pytest.raises(TrainingDataError, match=r"case1\.nii\.gz is missing"):
        prepared(data, tmp_path, "organs")


def test_a_patch_stays_inside_and_is_padded_only_where_the_volume_is_smaller():
    array = np.arange(10 * 4 * 6).reshape(10, 4, 6)
    patch = patch_at(array, np.array([9, 0, 3]), (4, 6, 4), fill=-1)
    assert np.array_equal(patch[:, 1:5], array[6:10, :, 1:5])
    assert (patch[:, [0, 5]] == -1).all()


def test_organs_are_drawn_equally_often_and_lie_in_the_patch(data, tmp_path):
    cases = prepared(data, tmp_path, "organs")
    sampler = Sampler(cases, dataclasses.replace(SCHEDULE, wander=0.3), (8, 8, 8), seed=1)
    seen = [np.unique(sampler.batch()[1]).tolist() for _ in range(60)]
    assert all(any(label > 0 for label in labels) for labels in seen)
    small = sum(13 in labels for labels in seen)
    assert 15 < small < 45, "by volume it would be one in five"


def test_several_patches_are_drawn_from_each_case(data, tmp_path):
    cases = prepared(data, tmp_path, "organs")
    sampler = Sampler(cases, dataclasses.replace(SCHEDULE, batch=2, crops=3), (8, 8, 8), seed=1)
    images, labels = sampler.batch()
    assert (images.shape, labels.shape) == ((6, 1, 8, 8, 8), (6, 8, 8, 8))


def test_a_case_with_a_lesion_alone_has_no_region_to_learn_organs_in(data, tmp_path):
    path = data / "labelsTr/case1.nii.gz"
    image = sitk.ReadImage(str(path))
    array = sitk.GetArrayFromImage(image)
    lesion = sitk.GetImageFromArray(np.where(array == 14, array, 0))
    lesion.CopyInformation(image)
    sitk.WriteImage(lesion, str(path))
    assert [case.name for case in prepared(data, tmp_path, "organs")] == ["case0"]


def test_cases_are_prepared_by_several_processes_as_by_one(data, tmp_path):
    one = prepared(data, tmp_path / "one", "organs")
    two = prepare_cases(data, data / "labelsTr", tmp_path / "two/organs", PLAN, "organs", processes=2)
    for first, second in zip(one, two, strict=True):
        assert np.array_equal(first.image(), second.image())
        assert np.array_equal(first.labels(), second.labels())


def test_the_same_seed_draws_the_same_and_its_state_goes_on(data, tmp_path):
    cases = prepared(data, tmp_path, "organs")
    schedule = dataclasses.replace(SCHEDULE, augmentation=Augmentation(affine=1, noise_sd=1, shift=1))
    one, other = (Sampler(cases, schedule, (8, 8, 8), seed=5) for _ in range(2))
    assert torch.equal(one.batch()[0], other.batch()[0])
    state = one.random.get_state()
    expected = one.batch()[0]
    one.random.set_state(state)
    assert torch.equal(one.batch()[0], expected)


def test_validation_goes_through_all_organs_and_is_the_same_each_time(data, tmp_path):
    cases = prepared(data, tmp_path, "organs")
    samples = fixed_samples(cases, (8, 8, 8), per_case=1)
    found = [cases[number].labels()[tuple(centre)] for number, centre in samples]
    assert sorted(found) == [1, 13]
    again = fixed_samples(cases, (8, 8, 8), per_case=1)
    assert all(np.array_equal(one[1], other[1]) for one, other in zip(samples, again, strict=True))


def test_left_and_right_are_never_exchanged():
    image = torch.zeros(4, 4, 8)
    image[..., 6:] = 1
    labels = image.to(torch.uint8)
    everything = Augmentation(flip=1, shift=1, affine=1, angle=0.2, scale=0.05)
    random = torch.Generator().manual_seed(0)
    for _ in range(20):
        moved, moved_labels = everything(image, labels, random)
        assert moved_labels[..., 4:].sum() > 0
        assert moved_labels[..., :4].sum() == 0
        assert moved[..., :4].mean() < moved[..., 4:].mean()


def test_a_quarter_turn_is_that_of_numpy_also_where_sides_differ():
    image = torch.zeros(2, 12, 8)
    image[:, 5:8, 3:6] = torch.rand(2, 3, 3)
    labels = (image > 0).to(torch.uint8)
    moved, moved_labels = turned(image, labels, angle=math.pi / 2, scales=(1.0, 1.0, 1.0))
    square = np.pad(image.numpy(), ((0, 0), (0, 0), (2, 2)))
    expected = np.rot90(square, k=1, axes=(1, 2))[:, :, 2:10]
    assert np.allclose(moved, expected, atol=1e-4)
    assert np.array_equal(moved_labels, expected > 0)
