"""The teacher: its files, and CTs through it slice by slice."""

# ruff: noqa: E402 - torch is looked for before what needs it
from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import SimpleITK as sitk
from distilled.attention_unet import (
    AttentionUNet2d,
)
from distilled.teacher import Teacher, TeacherPlan, load_teacher, save_teacher
from segkit.errors import PlanError
from segkit.image import from_image
from segkit.plan import Intensity
from segkit.predict import normaliser
from segkit.resample import resample_image

from .attention_unets import images, tiny_network
from .conftest import make_body_hu

PLAN = TeacherPlan(
    spacing_mm=(2.0, 2.0),
    patch=(32, 32),
    intensity=Intensity(clip_low_hu=-160, clip_high_hu=240, mean_hu=60, std_hu=70),
    labels=("background", "tumour"),
    network={"features_per_stage": [4, 6, 8], "strides": [[1, 1], [2, 2], [2, 2]]},
)


# Its files.


def make_checkpoint(folder, network: AttentionUNet2d, plan: TeacherPlan = PLAN, **changes):
    """A training's folder as nnU-Net leaves it; returns the checkpoint."""
    configuration = {
        "spacing": list(plan.spacing_mm),
        "patch_size": list(plan.patch),
        "architecture": {
            "network_class_name": "distilled.attention_unet.AttentionUNet2d",
            "arch_kwargs": plan.network,
            **changes,
        },
    }
    intensity = {"percentile_00_5": -160, "percentile_99_5": 240, "mean": 60, "std": 70}
    fold = folder / "fold_all"
    fold.mkdir(parents=True)
    plans = {
        "dataset_name": "Dataset001_tumour",
        "configurations": {"2d": configuration},
        "foreground_intensity_properties_per_channel": {"0": intensity},
    }
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps({"labels": {"tumour": 1, "background": 0}}))
    content = {
        "network_weights": network.state_dict(),
        "init_args": {"configuration": "2d"},
        "trainer_name": "ClockTrainer",
        "current_epoch": 7,
        "logging": {"losses": [np.float32(0.5)]},
    }
    torch.save(content, fold / "checkpoint_final.pth")
    return fold / "checkpoint_final.pth"


def trained_network(plan: TeacherPlan = PLAN) -> AttentionUNet2d:
    """A network whose weights are what float16 can hold, its statistics not those of the start."""
    network = tiny_network(**plan.network).train()
    with torch.no_grad():
        for seed in range(3):
            network(images(*plan.patch, seed=seed))
        for value in network.state_dict().values():
            if value.is_floating_point():
                value.copy_(value.half())
    return network.eval()


def test_a_checkpoint_becomes_a_folder_that_labels_as_the_trained_network_does(tmp_path):
    network = trained_network()
    save_teacher(make_checkpoint(tmp_path / "model", network), tmp_path / "out")
    teacher = load_teacher(tmp_path / "out", "cpu", threads=1)

    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["model.safetensors", "plans.json"]
    assert dataclasses.replace(teacher.plan, source={}) == PLAN
    assert teacher.plan.source == {
        "dataset": "Dataset001_tumour",
        "configuration": "2d",
        "trainer": "ClockTrainer",
        "epochs": "7",
    }
    with torch.inference_mode():
        assert torch.equal(teacher.network(images(32, 32)), network(images(32, 32)))


def test_a_training_of_another_network_is_refused(tmp_path):
    checkpoint = make_checkpoint(
        tmp_path / "model", trained_network(), network_class_name="somewhere.PlainConvUNet"
    )
    with pytest.raises(PlanError, match="PlainConvUNet"):
        save_teacher(checkpoint, tmp_path / "out")


def test_weights_that_are_not_finite_are_refused_and_nothing_is_written(tmp_path):
    network = trained_network()
    with torch.no_grad():
        network.decoder.heads[0].weight[0, 0] = float("nan")
    with pytest.raises(PlanError, match="diverged"):
        save_teacher(make_checkpoint(tmp_path / "model", network), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_that_runs_code_is_refused(tmp_path):
    checkpoint = make_checkpoint(tmp_path / "model", trained_network())
    torch.save({"network_weights": SimpleNamespace()}, checkpoint)
    with pytest.raises(PlanError, match="opened safely"):
        save_teacher(checkpoint, tmp_path / "out")


def test_a_checkpoint_that_is_not_there_is_named(tmp_path):
    with pytest.raises(PlanError, match=r"checkpoint_final\.pth is missing"):
        save_teacher(tmp_path / "fold_all" / "checkpoint_final.pth", tmp_path / "out")


@pytest.mark.parametrize("name", ["model.safetensors", "plans.json"])
@pytest.mark.parametrize("damage", ["missing", "cut short"])
def test_a_damaged_teacher_is_refused_with_the_name_of_the_file(tmp_path, name, damage):
    save_teacher(make_checkpoint(tmp_path / "model", trained_network()), tmp_path / "out")
    damaged = tmp_path / "out" / name
    content = damaged.read_bytes()
    damaged.unlink()
    if damage == "cut short":
        damaged.write_bytes(content[: len(content) // 2])
    with pytest.raises(PlanError, match=name):
        load_teacher(tmp_path / "out", "cpu")


def test_weights_of_another_plan_are_refused(tmp_path):
    save_teacher(make_checkpoint(tmp_path / "model", trained_network()), tmp_path / "out")
    other = dataclasses.replace(PLAN, network={**PLAN.network, "features_per_stage": [4, 6, 10]})
    (tmp_path / "out" / "plans.json").write_text(other.to_json())
    with pytest.raises(PlanError, match="does not hold the weights"):
        load_teacher(tmp_path / "out", "cpu")


def test_a_patch_that_the_network_cannot_take_is_refused(tmp_path):
    with pytest.raises(PlanError, match=r"multiples of \(4, 4\)"):
        Teacher(dataclasses.replace(PLAN, patch=(32, 30)), tiny_network(**PLAN.network), "cpu")


# CTs through it.


class BrightNetwork(torch.nn.Module):
    """Calls a tumour what is brighter than soft tissue; counts what it is given."""

    divisor = (4, 4)

    def __init__(self):
        super().__init__()
        self.seen: list[tuple[int, ...]] = []

    def forward(self, image):
        self.seen.append(tuple(image.shape))
        return torch.cat([torch.full_like(image, 1.0), image], 1)


def ct_of(array: np.ndarray, spacing_zyx=(5.0, 2.0, 2.0)):
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing_zyx[::-1])
    return from_image(image)


def bright_teacher(plan: TeacherPlan = PLAN) -> Teacher:
    return Teacher(plan, BrightNetwork(), "cpu", threads=1)


def test_labels_have_the_ct_s_shape_and_are_0_or_1():
    ct = ct_of(make_body_hu((7, 50, 41)), (5.0, 0.9, 1.1))
    labels = Teacher(PLAN, trained_network(), "cpu", threads=1).segment(ct)
    assert labels.dtype == np.uint8
    assert labels.shape == ct.array.shape
    assert set(np.unique(labels)) <= {0, 1}


def test_on_the_network_s_own_grid_each_voxel_gets_the_network_s_answer():
    array = make_body_hu((4, 60, 70))
    labels = bright_teacher().segment(ct_of(array))
    # (130 - 60) / 70 is the threshold of `BrightNetwork`; half a HU is left to rounding.
    clear = (np.abs(array - 130) > 0.5) & (array > -500)
    assert np.array_equal(labels[clear], (array > 130)[clear])


def test_windows_and_slices_make_no_difference_to_what_a_slice_is_given():
    array = make_body_hu((9, 64, 80))
    spacing = (5.0, 1.3, 1.7)
    whole = bright_teacher(dataclasses.replace(PLAN, patch=(64, 80)))
    parts = bright_teacher()
    parts_labels = parts.segment(ct_of(array, spacing))
    whole_labels = whole.segment(ct_of(array, spacing))
    assert {size[2:] for size in parts.network.seen} == {(32, 32)}
    assert (parts_labels != whole_labels).mean() < 1e-3
    assert parts_labels.any()


def test_slices_are_never_mixed():
    array = make_body_hu((5, 48, 48))
    together = bright_teacher().segment(ct_of(array))
    array[1] = 200
    apart = bright_teacher().segment(ct_of(array))
    assert np.array_equal(together[2:], apart[2:])


def test_several_slices_go_through_the_network_at_once(monkeypatch):
    monkeypatch.setattr("distilled.teacher._PIXELS_AT_ONCE", 4 * 32 * 32)
    teacher = bright_teacher()
    teacher.segment(ct_of(make_body_hu((9, 40, 40))))
    assert {size[0] for size in teacher.network.seen} == {4, 1}


def test_air_alone_holds_no_tumour_and_is_not_run():
    teacher = bright_teacher()
    labels = teacher.segment(ct_of(np.full((3, 20, 20), -1000, np.int16)))
    assert not labels.any()
    assert teacher.network.seen == []


@pytest.mark.parametrize("shape", [(1, 40, 40), (3, 1, 1), (1, 1, 1), (2, 3, 50)])
def test_tiny_volumes_come_out_in_their_shape(shape):
    ct = ct_of(np.full(shape, 40, np.int16))
    assert Teacher(PLAN, trained_network(), "cpu", threads=1).segment(ct).shape == shape


def test_a_header_that_claims_metres_of_patient_does_not_take_all_memory():
    teacher = bright_teacher(dataclasses.replace(PLAN, patch=(512, 512)))
    labels = teacher.segment(ct_of(np.full((1, 20, 20), 200, np.int16), (1.0, 4000.0, 4000.0)))
    assert labels.all()
    assert sum(np.prod(size) for size in teacher.network.seen) < 5 * 2**22


def test_a_ct_of_fractions_is_taken_too():
    array = make_body_hu((3, 40, 40))
    assert np.array_equal(
        bright_teacher().segment(ct_of(array.astype(np.float32))), bright_teacher().segment(ct_of(array))
    )


def test_a_slice_is_resampled_and_normalised_as_nnunet_preprocesses_it():
    preprocessor = pytest.importorskip("nnunetv2.preprocessing.resampling.default_resampling")
    array = make_body_hu((3, 50, 44))
    shape = (3, 41, 53)
    normalised = normaliser(PLAN.intensity)(array)
    theirs = preprocessor.resample_data_or_seg_to_shape(
        normalised[None],
        shape,
        current_spacing=(5.0, 1.0, 1.0),
        new_spacing=(5.0, 50 / 41, 44 / 53),
        is_seg=False,
        order=1,
        order_z=1,
        force_separate_z=False,
    )[0]
    ours = resample_image(array, shape, normaliser(PLAN.intensity))
    assert np.abs(theirs - ours).max() < 1e-4
