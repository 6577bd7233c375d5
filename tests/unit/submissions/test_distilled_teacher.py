"""The teacher: its network, its files, and CTs through it slice by slice."""

# ruff: noqa: E402 - torch is looked for before what needs it
from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from .conftest import SUBMISSIONS, make_body_hu

METHOD = SUBMISSIONS / "distilled_student"

import SimpleITK as sitk
from distilled.attention_unet import (
    AttentionUNet2d,
    ChannelAttention,
    DoubleAttentionGate,
    GridAttentionGate,
    NonLocalBlock,
    SEConvBlock,
    published_levels,
)
from distilled.teacher import Teacher, TeacherPlan, load_teacher, save_teacher
from segkit.errors import PlanError
from segkit.image import from_image
from segkit.plan import Intensity
from segkit.predict import normaliser
from segkit.resample import resample_image

TINY = {
    "features_per_stage": [4, 4, 6, 8, 8, 8],
    "strides": [[1, 1], [2, 2], [2, 2], [2, 2], [2, 2], [2, 2]],
}
PLAN = TeacherPlan(
    spacing_mm=(2.0, 2.0),
    patch=(32, 32),
    intensity=Intensity(clip_low_hu=-160, clip_high_hu=240, mean_hu=60, std_hu=70),
    labels=("background", "tumour"),
    network={"features_per_stage": [4, 6, 8], "strides": [[1, 1], [2, 2], [2, 2]]},
)


def tiny_network(**changes) -> AttentionUNet2d:
    torch.manual_seed(0)
    network = AttentionUNet2d(1, 2, **{**TINY, **changes})
    network.apply(network.initialize)
    return network


def images(*size: int, seed: int = 0):
    return torch.randn(2, 1, *size, generator=torch.Generator().manual_seed(seed))


def architecture(schedule: str) -> dict:
    return json.loads((METHOD / "plans" / f"teacher.{schedule}.json").read_text())["architecture"]


def parameters(network) -> int:
    return sum(weight.numel() for weight in network.parameters())


# The network.


def test_the_published_teacher_has_its_62_9_million_parameters():
    with torch.device("meta"):
        network = AttentionUNet2d(1, 2, **architecture("full")["arch_kwargs"])
    assert parameters(network) == 62_934_228
    assert network.divisor == (128, 128)


@pytest.mark.parametrize("schedule", ["full", "short"])
def test_a_recipe_s_levels_are_the_published_order_for_its_depth(schedule):
    described = architecture(schedule)["arch_kwargs"]
    assert tuple(described["decoder_levels"]) == published_levels(len(described["strides"]) - 1)


@pytest.mark.parametrize(
    ("count", "levels"),
    [
        (1, "plain"),
        (2, "plain non_local"),
        (3, "plain non_local gated"),
        (4, "plain non_local gated open"),
        (7, "plain non_local gated gated gated open open"),
    ],
)
def test_a_shallow_decoder_keeps_the_coarse_end_of_the_published_one(count, levels):
    assert published_levels(count) == tuple(levels.split())


def test_nnunet_builds_it_from_a_recipe():
    build = pytest.importorskip("nnunetv2.utilities.get_network_from_plans").get_network_from_plans
    described = architecture("short")
    network = build(
        described["network_class_name"],
        described["arch_kwargs"],
        described["_kw_requires_import"],
        1,
        2,
        deep_supervision=True,
    )
    assert isinstance(network, AttentionUNet2d)
    assert network.decoder.deep_supervision


def test_deep_supervision_gives_every_level_finest_first_and_the_switch_leaves_the_finest():
    network = tiny_network(deep_supervision=True).eval()
    with torch.inference_mode():
        outputs = network(images(64, 96))
        network.decoder.deep_supervision = False
        finest = network(images(64, 96))
    assert [tuple(output.shape) for output in outputs] == [
        (2, 2, 64 >> level, 96 >> level) for level in range(5)
    ]
    assert torch.equal(finest, outputs[0])


def test_strides_may_differ_between_axes_and_stages():
    network = tiny_network(
        features_per_stage=[4, 6, 8, 8], strides=[[1, 1], [1, 2], [2, 2], [2, 1]], kernel_sizes=3
    )
    assert network.divisor == (4, 4)
    assert network(images(12, 20)).shape == (2, 2, 12, 20)


def test_every_parameter_learns():
    network = tiny_network(deep_supervision=True)
    for module in network.modules():
        if isinstance(module, NonLocalBlock):
            torch.nn.init.ones_(module.out[1].weight)
    target = torch.randint(2, (2, 64, 64), generator=torch.Generator().manual_seed(1))
    loss = sum(
        torch.nn.functional.cross_entropy(output, target[:, :: 1 << level, :: 1 << level])
        for level, output in enumerate(network(images(64, 64)))
    )
    loss.backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None, name
        assert torch.isfinite(weight.grad).all(), name
        # A bias in front of a normalisation does nothing.
        if weight.ndim > 1:
            assert weight.grad.abs().sum() > 0, name


def test_an_image_that_cannot_be_halved_often_enough_is_refused_with_the_mend():
    with pytest.raises(ValueError, match=r"pad its sides to multiples of \(32, 32\)"):
        tiny_network()(images(64, 50))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"decoder_levels": ["plain"]}, "one level of the decoder less, not 1"),
        ({"decoder_levels": ["plain", "shut", "gated", "open", "open"]}, "shut"),
        ({"strides": [[1, 1]]}, "as many strides, not 1"),
    ],
)
def test_arguments_that_describe_no_network_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        tiny_network(**changes)


# Its parts.


def test_a_non_local_block_begins_as_the_identity_and_then_sees_everywhere():
    torch.manual_seed(0)
    block = NonLocalBlock(8).eval()
    features = torch.randn(1, 8, 6, 6)
    assert torch.equal(block(features), features)

    torch.nn.init.ones_(block.out[1].weight)
    features.requires_grad_()
    block(features)[0, :, 0, 0].sum().backward()
    reached = features.grad.abs().sum((0, 1)) > 0
    # Of each 2 x 2 pixels the largest of a channel is the key; all four corners hold some.
    assert reached[:2, :2].any() and reached[:2, -2:].any()
    assert reached[-2:, :2].any() and reached[-2:, -2:].any()


def test_a_non_local_block_also_takes_one_pixel_and_odd_sizes():
    block = NonLocalBlock(8).eval()
    for size in ((1, 1), (5, 3)):
        assert block(torch.randn(1, 8, *size)).shape == (1, 8, *size)


def test_a_shut_gate_hides_the_skip_and_an_open_one_lets_it_through():
    torch.manual_seed(0)
    gate = GridAttentionGate(4, 6).eval()
    below = torch.randn(1, 6, 4, 4)
    one, other = torch.randn(1, 4, 8, 8), torch.randn(1, 4, 8, 8)
    torch.nn.init.zeros_(gate.psi.weight)

    torch.nn.init.constant_(gate.psi.bias, -200.0)
    assert torch.equal(gate(one, below), gate(other, below))

    torch.nn.init.constant_(gate.psi.bias, 200.0)
    assert torch.equal(gate.openness(one, below), torch.ones(1, 1, 8, 8))
    assert torch.allclose(gate(one, below), gate.out(one))


def test_what_opens_a_gate_is_the_level_below_at_the_same_place():
    gate = GridAttentionGate(1, 1).eval()
    for layer, weight in ((gate.theta, 0.0), (gate.phi, 1.0), (gate.psi, 20.0)):
        torch.nn.init.constant_(layer.weight, weight)
    torch.nn.init.zeros_(gate.phi.bias)
    torch.nn.init.constant_(gate.psi.bias, -10.0)
    below = torch.zeros(1, 1, 4, 4)
    below[..., :2, :] = 1.0
    openness = gate.openness(torch.ones(1, 1, 8, 8), below)[0, 0]
    assert (openness[:3] > 0.99).all()
    assert (openness[-3:] < 0.01).all()


def test_the_two_gates_of_a_pair_are_not_the_same_one():
    torch.manual_seed(0)
    pair = DoubleAttentionGate(4, 6).eval()
    skip, below = torch.randn(1, 4, 8, 8), torch.randn(1, 6, 4, 4)
    assert not torch.equal(pair.first.openness(skip, below), pair.second.openness(skip, below))
    assert pair(skip, below).shape == skip.shape


@pytest.mark.parametrize("pooling", ["average", "maximum"])
def test_channel_attention_heeds_the_average_and_the_maximum(pooling):
    torch.manual_seed(0)
    attention = ChannelAttention(8, 4).eval()
    torch.nn.init.constant_(attention.fc[0].bias, 1.0)
    before = torch.zeros(1, 8, 4, 4)
    before[..., 0, 0] = 1.0
    after = before.clone()
    if pooling == "average":
        after[..., 1, 1] = 0.8
    else:
        after[..., 0, 0], after[..., 0, 1] = 1.5, -0.5
    assert torch.allclose(before.mean((2, 3)), after.mean((2, 3))) == (pooling == "maximum")
    assert torch.equal(before.amax((2, 3)), after.amax((2, 3))) == (pooling == "average")

    weights = [(attention(features) / features)[:, :, 0, 0] for features in (before, after)]
    assert not torch.allclose(*weights, atol=1e-4)


def test_channel_attention_adds_both_maps_so_a_channel_keeps_at_most_twice_its_size():
    attention = ChannelAttention(4, 2).eval()
    torch.nn.init.zeros_(attention.fc[2].weight)
    features = torch.randn(1, 4, 3, 3)
    torch.nn.init.constant_(attention.fc[2].bias, 100.0)
    assert torch.allclose(attention(features), 2 * features)
    torch.nn.init.constant_(attention.fc[2].bias, -100.0)
    assert torch.allclose(attention(features), torch.zeros_like(features))


def test_an_se_block_keeps_the_size_whatever_it_is():
    assert SEConvBlock(6, 4)(torch.randn(2, 6, 5, 7)).shape == (2, 4, 5, 7)


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


def test_half_of_the_feature_maps_behind_the_non_local_level_are_dropped_in_training_alone():
    network = tiny_network()
    kinds = [type(level.dropout).__name__ for level in network.decoder.levels]
    assert kinds == ["Identity", "Dropout2d", "Identity", "Identity", "Identity"]
    assert network.decoder.levels[1].dropout.p == 0.5
    image = images(64, 64)
    network.eval()
    with torch.inference_mode():
        assert torch.equal(network(image), network(image))
    network.train()
    with torch.no_grad():
        assert not torch.equal(network(image), network(image))
