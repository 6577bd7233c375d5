"""Labels in every type and scaling are known again; what is no label is refused with its likely cause."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
from headers import by_nibabel, nrrd, placed, two_organs

RESAMPLED = ("resampl", "rescal", "interpol")


def test_labels_that_the_writer_scaled_to_eight_bits(desk):
    labels = two_organs()
    labels[labels == 3] = 11
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.uint8)
    by_nibabel(desk.reference(), labels)
    desk.prediction().parent.mkdir()
    nibabel.save(nibabel.Nifti1Image(labels.astype(float), placed(), header), desk.prediction())
    stored = nibabel.load(desk.prediction())
    assert stored.dataobj.slope not in (0, 1), "the writer was meant to scale"
    scores = desk.evaluator().scores
    assert scores["a", 1] == scores["a", 11] == (1.0, 1.0)


@pytest.mark.parametrize("dtype", ["<u1", ">i2", "<u2", ">i4", "<i8", ">f4", "<f8"])
def test_labels_of_any_type_in_either_byte_order(desk, dtype):
    desk.plain()
    header = nibabel.Nifti1Header(endianness=dtype[0] if dtype[0] != "<" else "<")
    header.set_data_dtype(np.dtype(dtype))
    desk.prediction().parent.mkdir()
    image = nibabel.Nifti1Image(two_organs().astype(dtype), placed(), header, dtype=np.dtype(dtype))
    nibabel.save(image, desk.prediction())
    assert desk.score().is_perfect()


@pytest.mark.parametrize(("factor", "value"), [(0.9882, "0.988"), (1.01, "1.01")])
def test_labels_that_were_rescaled(desk, factor, value):
    desk.plain()
    desk.predict(two_organs().astype(np.float32) * factor)
    answer = desk.score()
    assert answer.refuses(*RESAMPLED)
    assert answer.says(value)


def test_one_voxel_between_two_labels(desk):
    desk.plain()
    labels = two_organs().astype(np.float32)
    labels[4, 5, 4] = 2.5
    desk.predict(labels)
    answer = desk.score()
    assert answer.refuses(*RESAMPLED) and answer.says("2.5")


def test_a_mask_of_0_and_255(desk):
    mask = (two_organs() == 1).astype(np.uint8)
    by_nibabel(desk.reference(), mask)
    by_nibabel(desk.prediction(), mask * 255)
    assert desk.evaluator(challenge="flare24-task1").says("255")


def test_a_label_outside_the_table_beside_one_that_is_never_predicted(desk):
    desk.plain()
    labels = two_organs()
    labels[labels == 3] = 40
    desk.predict(labels)
    answer = desk.score()
    assert answer.says("40") and answer.says("never", "not predicted", "no voxel of")


def test_a_single_layer_as_first_axis(desk):
    by_nibabel(desk.reference(), two_organs())
    nrrd(desk.prediction(suffix=".nrrd"), two_organs()[None], of_layers=True)
    assert desk.evaluator().is_perfect()


def test_layers_that_overlap(desk):
    by_nibabel(desk.reference(), two_organs())
    layers = np.stack([two_organs() == 1, two_organs() == 3])
    nrrd(desk.prediction(suffix=".nrrd"), layers, of_layers=True, more=("Segment0_LabelValue:=1",))
    answer = desk.evaluator()
    assert answer.exit_code == 1 and answer.says("overlap", "layer", "segment")
