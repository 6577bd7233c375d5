"""segkit.training: from a folder of cases to what nnU-Net trains on."""

# ruff: noqa: E402 - torch is looked for before what needs it
from __future__ import annotations

import dataclasses
import os

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("nnunetv2")

import SimpleITK as sitk
from segkit.errors import SegkitError
from segkit.training import Task, TrainingDataError, pairs_of, run, train
from segkit.training.data import check_sources, read_case
from segkit.training.recipe import Preparation, Recipe

from .training_cases import EPOCHS, ORGAN, SPATIAL, TASK, TUMOUR, make_data, options, plain_network, write


@pytest.fixture
def data(tmp_path):
    """Two cases with an organ and a tumour, stored flipped."""
    return make_data(tmp_path / "data")


def test_a_case_is_read_as_inference_sees_it_with_the_task_s_labels(data):
    first, _ = pairs_of(data)
    hu, labels, spacing_mm = read_case(first, TASK)
    assert spacing_mm == (3.0, 2.0, 2.0)
    assert np.unique(labels).tolist() == [0, 1]
    assert int(labels.sum()) == 4 * 10 * 10
    # Stored with x to the right and y to the front; LPS has both the other way round.
    stored = sitk.GetArrayFromImage(sitk.ReadImage(str(first.image)))
    assert np.array_equal(hu[:, :, :], stored[:, ::-1, ::-1][tuple(slice(0, size) for size in hu.shape)])


def test_a_work_folder_of_other_data_is_refused(data, tmp_path):
    note = tmp_path / "work/sources.json"
    check_sources(pairs_of(data), TASK, note)
    check_sources(pairs_of(data), TASK, note)
    with pytest.raises(TrainingDataError, match="1 cases differ, the first is case1"):
        check_sources(pairs_of(data, cases=["case0"]), TASK, note)
    with pytest.raises(TrainingDataError, match="the labels differ"):
        check_sources(pairs_of(data), Task("block", TASK.labels, {ORGAN: 1}), note)
    write(data / "labelsTr/case0.nii.gz", np.full((16, 32, 32), TUMOUR, dtype=np.uint8))
    with pytest.raises(TrainingDataError, match="the first is case0"):
        check_sources(pairs_of(data), TASK, note)


def test_a_recipe_may_keep_the_slices_around_the_labels_and_clip(data):
    first, _ = pairs_of(data)
    whole, all_labels, _ = read_case(first, TASK)
    held = np.flatnonzero(all_labels.any(axis=(1, 2)))
    how = Preparation(slices_around_labels=2, clip_hu=(-100, 60))
    hu, labels, _ = read_case(first, TASK, how)
    kept = slice(max(0, held[0] - 2), held[-1] + 3)
    assert hu.shape[0] == len(held) + 4 < whole.shape[0]
    assert np.array_equal(labels, all_labels[kept])
    assert np.array_equal(hu, whole[kept].clip(-100, 60))
    # More than there are is all; and where no label is, nothing can be cut.
    assert read_case(first, TASK, Preparation(slices_around_labels=99))[0].shape == whole.shape
    nothing = Task("none", TASK.labels, {7: 1})
    assert read_case(first, nothing, how)[0].shape == whole.shape


def test_a_work_folder_of_another_preparation_is_refused(data, tmp_path):
    note = tmp_path / "work/sources.json"
    check_sources(pairs_of(data), TASK, note, Preparation(label_order=0))
    check_sources(pairs_of(data), TASK, note, Preparation(label_order=0))
    with pytest.raises(TrainingDataError, match="prepared in another way"):
        check_sources(pairs_of(data), TASK, note)


def test_splines_of_a_recipe_reach_the_plans_and_the_cases(data, tmp_path):
    """Against scipy's splines, on the grid that halves y and x."""
    from scipy import ndimage
    from segkit.training import prepare
    from segkit.training.nnunet import Layout, write_plans

    made = {}
    for order in (1, 3):
        how = Preparation(image_order=order, label_order=0)
        recipe = Recipe.from_dict({**SPATIAL, "spacing": [3.0, 4.0, 4.0], "schedule": EPOCHS})
        recipe = dataclasses.replace(recipe, preparation=how)
        layout = Layout(tmp_path / str(order), TASK.name, 3)
        prepare.write_description(TASK, 2, layout)
        pairs = pairs_of(data)
        fingerprint = prepare.make_fingerprint(pairs, TASK, layout, 1, how)
        plans = write_plans(layout, fingerprint, recipe, plain_network())
        kwargs = plans["configurations"]["3d"]["resampling_fn_data_kwargs"]
        assert (kwargs["order"], kwargs["order_z"]) == (order, order)
        assert plans["configurations"]["3d"]["resampling_fn_seg_kwargs"]["order"] == 0
        prepare.preprocess(pairs, TASK, layout, plans, 1, how)
        made[order] = preprocessed(layout, pairs[0].case)
    hu, _, _ = read_case(pairs[0], TASK)
    intensity = plans["foreground_intensity_properties_per_channel"]["0"]
    window = (intensity["percentile_00_5"], intensity["percentile_99_5"])
    scaled = (hu.clip(*window) - intensity["mean"]) / intensity["std"]
    y, x = (np.arange(size) * 2 + 0.5 for size in made[3].shape[1:])
    wanted = ndimage.map_coordinates(
        scaled, np.meshgrid(np.arange(len(scaled)), y, x, indexing="ij"), order=3, mode="nearest"
    )
    wanted = wanted.clip(scaled.min(), scaled.max())  # the resampler does not overshoot
    inner = (slice(2, -2),) * 3  # nor does it reflect at the border as scipy does
    error = {order: float(np.abs(image - wanted)[inner].mean()) for order, image in made.items()}
    assert error[3] < 0.1 * error[1]


def preprocessed(layout, case):
    """The image of a case as the training reads it."""
    from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

    folder = layout.preprocessed / f"segkit_{layout.configuration}"
    return np.asarray(nnUNetDatasetBlosc2(str(folder), [case]).load_case(case)[0][:])[0]


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.full((16, 32, 32), 14.5, dtype=np.float32), "no whole numbers"),
        (np.zeros((16, 32, 30), dtype=np.uint8), "must lie on the image's grid"),
    ],
)
def test_a_label_that_does_not_fit_is_named(data, array, said):
    write(data / "labelsTr/case1.nii.gz", array)
    with pytest.raises(SegkitError, match=rf"case1\.nii\.gz.*{said}"):
        read_case(pairs_of(data)[1], TASK)


def test_an_interrupted_preprocessing_goes_on_with_the_cases_that_are_left(data, tmp_path, monkeypatch):
    from segkit.training import prepare

    read = []

    def reading(pair, task, *how):
        read.append(pair.case)
        if len(read) == 4:
            raise KeyboardInterrupt
        return read_case(pair, task, *how)

    monkeypatch.setattr(prepare, "read_case", reading)
    job = (
        pairs_of(data),
        TASK,
        {**SPATIAL, "schedule": EPOCHS},
        plain_network(),
        options(tmp_path, processes=1),
    )
    with pytest.raises(KeyboardInterrupt):
        train(*job)
    monkeypatch.setattr(run, "_train_network", lambda *_: None)
    with pytest.raises(TrainingDataError, match="train first"):
        train(*job)
    # The fingerprint reads both, preprocessing too; the second of these was interrupted.
    assert read == ["case0", "case1", "case0", "case1", "case1"]
    assert not (tmp_path / "work/raw").exists()
    (cases,) = (tmp_path / "work/preprocessed").glob("*/segkit_3d")
    assert sorted(path.name for path in cases.glob("*.pkl")) == ["case0.pkl", "case1.pkl"]


def test_cases_are_prepared_on_as_many_cores_as_cores_and_memory_allow(monkeypatch):
    from segkit.training.prepare import process_count

    pages = {"SC_PAGE_SIZE": 4096, "SC_AVPHYS_PAGES": 64 * 2**30 // 4096}
    monkeypatch.setattr(os, "sysconf", pages.get)
    assert process_count(None, 32) == 16
    assert process_count(None, 64) == 16
    assert process_count(None, 1) == 1
    assert process_count(40, 2) == 40


def test_pairs_come_from_the_labels_and_cases_asked_for(data, tmp_path):
    assert [pair.case for pair in pairs_of(data)] == ["case0", "case1"]
    (pair,) = pairs_of(data, cases=["case1"])
    assert pair.image.name == "case1_0000.nii.gz"
    other = tmp_path / "other"
    other.mkdir()
    (data / "labelsTr/case0.nii.gz").rename(other / "case0.nii.gz")
    assert pairs_of(data, labels=other, cases=["case0"])[0].label == other / "case0.nii.gz"
    with pytest.raises(TrainingDataError, match="every training image needs its label"):
        pairs_of(data, labels=other)
    with pytest.raises(TrainingDataError, match=r"case7_0000\.nii\.gz is missing"):
        pairs_of(data, cases=["case7"])
    with pytest.raises(TrainingDataError, match="none of the cases"):
        pairs_of(data, cases=[])
