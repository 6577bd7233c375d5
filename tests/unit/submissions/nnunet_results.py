"""Results folders of nnU-Net v2 with random weights, and what nnU-Net itself predicts with them."""

# ruff: noqa: E402 - torch is looked for before what needs it
from __future__ import annotations

import copy
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("nnunetv2")

import SimpleITK as sitk

from .conftest import make_body_hu
from .nnunet_files import plain_unet, plans_json

PLANNED = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
LABELS = {"background": 0, "one": 1, "two": 2}
REGIONS = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "centre": 3}
INTENSITY = {"mean": 40.0, "std": 60.0, "percentile_00_5": -200.0, "percentile_99_5": 300.0}


@dataclass
class Training:
    """What a results folder is made of.

    Attributes:
        configurations: Names, of `2d`, `3d_fullres`, `3d_lowres` and `3d_cascade_fullres`.
        folds: Names of folds.
        residual: Whether networks have residual encoders.
        labels: As in dataset.json; regions are lists.
        schemes: The normalisation of each channel.
        masked: Whether z-scores see only what is not zero.
        transpose: nnU-Net's transpose_forward.
        reader: nnU-Net's class that reads images.
        mirror_axes: Those that training allowed.
        changes: Of every configuration.
    """

    configurations: tuple[str, ...] = ("3d_fullres",)
    folds: tuple[str, ...] = ("0",)
    residual: bool = False
    labels: dict = field(default_factory=lambda: dict(LABELS))
    schemes: tuple[str, ...] = ("CTNormalization",)
    masked: bool = False
    transpose: tuple[int, int, int] = (0, 1, 2)
    reader: str = "SimpleITKIO"
    mirror_axes: tuple[int, ...] | None = None
    changes: dict = field(default_factory=dict)

    @property
    def regions(self) -> bool:
        return any(isinstance(value, list) for value in self.labels.values())

    @property
    def outputs(self) -> int:
        return len(self.labels) - (1 if self.regions else 0)


def write_results(folder: Path, training: Training) -> Path:
    """The folder of a data set with a model folder for each configuration."""
    plans = plans_of(training)
    dataset = dataset_of(training)
    for number, name in enumerate(training.configurations):
        model = folder / f"nnUNetTrainer__nnUNetPlans__{name}"
        model.mkdir(parents=True)
        (model / "plans.json").write_text(json.dumps(plans))
        (model / "dataset.json").write_text(json.dumps(dataset))
        for fold in training.folds:
            (model / f"fold_{fold}").mkdir()
            seed = 10 * number + (9 if fold == "all" else int(fold))
            checkpoint = {
                "network_weights": random_network(plans, name, training, seed).state_dict(),
                "init_args": {"configuration": name, "fold": fold},
                "trainer_name": "nnUNetTrainer",
                "inference_allowed_mirroring_axes": training.mirror_axes,
                "current_epoch": 1,
            }
            torch.save(checkpoint, model / f"fold_{fold}" / "checkpoint_final.pth")
    return folder


def dataset_of(training: Training) -> dict:
    described = {
        "channel_names": {str(number): f"channel {number}" for number in range(len(training.schemes))},
        "labels": training.labels,
        "numTraining": 5,
        "file_ending": ".nii.gz",
    }
    if training.regions:
        described["regions_class_order"] = [1, 2, 3]
    return described


def plans_of(training: Training) -> dict:
    plans = plans_json()
    plans["transpose_forward"] = list(training.transpose)
    plans["transpose_backward"] = [int(axis) for axis in np.argsort(training.transpose)]
    plans["image_reader_writer"] = training.reader
    channels = len(training.schemes)
    plans["foreground_intensity_properties_per_channel"] = {
        str(number): INTENSITY for number in range(channels)
    }
    full = {
        **plans["configurations"]["3d_fullres"],
        "normalization_schemes": list(training.schemes),
        "use_mask_for_norm": [training.masked] * channels,
        "resampling_fn_data_kwargs": PLANNED,
        "resampling_fn_seg_kwargs": {**PLANNED, "is_seg": True, "order": 1},
        "resampling_fn_probabilities_kwargs": {**PLANNED, "order": 1},
        "architecture": architecture(3, training.residual),
        **training.changes,
    }
    spacing = [full["spacing"][axis] for axis in training.transpose]
    plans["configurations"] = {
        "2d": {
            **copy.deepcopy(full),
            "patch_size": [24, 16],
            "spacing": spacing[1:],
            "architecture": architecture(2, training.residual),
        },
        "3d_fullres": {**full, "spacing": spacing},
        "3d_lowres": {
            **copy.deepcopy(full),
            "spacing": [1.7 * size for size in spacing],
            "next_stage": "3d_cascade_fullres",
        },
        "3d_cascade_fullres": {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"},
    }
    return plans


def architecture(axes: int, residual: bool) -> dict:
    told = plain_unet([4, 8, 8], convs=[1, 1, 1], convs_decoder=[1, 1])
    numbers = told["arch_kwargs"]
    numbers["kernel_sizes"] = [[1, 3, 3][-axes:], *[[3] * axes] * 2]
    numbers["strides"] = [[1] * axes, [1, 2, 2][-axes:], [2] * axes]
    numbers["conv_op"] = f"torch.nn.modules.conv.Conv{axes}d"
    numbers["norm_op"] = f"torch.nn.modules.instancenorm.InstanceNorm{axes}d"
    if residual:
        told["network_class_name"] = "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet"
        del numbers["n_conv_per_stage"]
        numbers["n_blocks_per_stage"] = [1, 2, 1]
    return told


def random_network(plans: dict, name: str, training: Training, seed: int):
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    told = plans["configurations"][name]
    told = told if "architecture" in told else plans["configurations"][told["inherits_from"]]
    values = {one for value in training.labels.values() for one in np.atleast_1d(value)}
    more = len(values) - 1 if name == "3d_cascade_fullres" else 0
    torch.manual_seed(seed)
    network = get_network_from_plans(
        told["architecture"]["network_class_name"],
        told["architecture"]["arch_kwargs"],
        told["architecture"]["_kw_requires_import"],
        len(training.schemes) + more,
        training.outputs,
        deep_supervision=True,
    )
    # Random heads see almost nothing: with larger ones labels have borders that are worth comparing.
    with torch.no_grad():
        for head in network.decoder.seg_layers:
            head.weight *= 10
        if more:
            # A random cascade makes much of every voxel of the stage before, rounding errors included.
            first = next(weight for weight in network.parameters() if weight.dim() > 1)
            first[:, len(training.schemes) :] *= 0.2
        # A bundle keeps weights in float16: both shall have the same ones.
        for weight in network.parameters():
            weight.copy_(weight.half())
    return network


def write_case(folder: Path, channels: int, shape, spacing, direction=None, zeros: bool = False) -> None:
    """A case of some channels; with zeros around, which are cropped away, if wanted."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(channels):
        array = make_body_hu(shape, seed=3 + number).astype(np.float32)
        if zeros:
            array[:2] = 0
            array[:, :, -5:] = 0
            array[:, :4, :3] = 0
        image = sitk.GetImageFromArray(array)
        image.SetSpacing(spacing)
        if direction is not None:
            image.SetDirection(direction)
        sitk.WriteImage(image, str(folder / f"case_{number:04d}.nii.gz"))


def labels_by_nnunet(
    results: Path, names: tuple[str, ...], inputs: Path, work: Path, *, mirror: bool = False, rules=()
) -> np.ndarray:
    """What nnUNetv2_predict, _ensemble and _apply_postprocessing make of a case, in this process."""
    from nnunetv2.ensembling.ensemble import merge_files
    from nnunetv2.postprocessing.remove_connected_components import (
        load_postprocess_save,
        remove_all_but_largest_component_from_segmentation,
    )
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    channels = sorted(str(path) for path in inputs.glob("case_*.nii.gz"))
    found = [predicted(results, name, channels, work / name, mirror) for name in names]
    model = results / f"nnUNetTrainer__nnUNetPlans__{names[0]}"
    plans = PlansManager(json.loads((model / "plans.json").read_text()))
    dataset = json.loads((model / "dataset.json").read_text())
    reader = plans.image_reader_writer_class()
    out = work / "merged"
    out.mkdir()
    if len(found) > 1:
        files = [str(folder / "case.npz") for folder in found]
        merge_files(files, str(out / "case"), ".nii.gz", reader, plans.get_label_manager(dataset))
    else:
        (found[0] / "case.nii.gz").rename(out / "case.nii.gz")
    if rules:
        functions = [remove_all_but_largest_component_from_segmentation] * len(rules)
        arguments = [{"labels_or_regions": rule} for rule in rules]
        path = str(out / "case.nii.gz")
        load_postprocess_save(path, path, reader, functions, arguments)
    return sitk.GetArrayFromImage(sitk.ReadImage(str(out / "case.nii.gz"))).astype(np.uint8)


def predicted(results: Path, name: str, channels: list[str], work: Path, mirror: bool) -> Path:
    """The folder with a configuration's label map and probabilities of the case."""
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    before = None
    if name == "3d_cascade_fullres":
        before = str(predicted(results, "3d_lowres", channels, work / "before", mirror))
    predictor = nnUNetPredictor(use_mirroring=mirror, device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(
        str(results / f"nnUNetTrainer__nnUNetPlans__{name}"), use_folds=folds_there(results, name)
    )
    work.mkdir(parents=True, exist_ok=True)
    predictor.predict_from_files_sequential(
        [channels], [str(work / "case")], save_probabilities=True, folder_with_segs_from_prev_stage=before
    )
    return work


def folds_there(results: Path, name: str) -> tuple[str, ...]:
    folders = sorted((results / f"nnUNetTrainer__nnUNetPlans__{name}").glob("fold_*"))
    return tuple(path.name.removeprefix("fold_") for path in folders)
