"""A model folder written back as nnU-Net's results folder, and nnU-Net's own command run on it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from segkit.model import load_model

CONFIGURATION = "3d_fullres"
DATASET = "Dataset001_stock"


@dataclass(frozen=True)
class Run:
    """One run of a command."""

    wall_s: float
    peak_memory_gib: float


def write_results_folder(model: Path, out: Path) -> None:
    """Write plans.json, dataset.json and fold_all/checkpoint_final.pth as nnU-Net leaves them.

    Args:
        model: A model folder of segkit's.
        out: The folder of all results; the model lies in it under its data set and trainer.
    """
    out = out / DATASET / f"nnUNetTrainer__nnUNetPlans__{CONFIGURATION}"
    plan, network = load_model(model)
    linear = {"is_seg": False, "order": 1, "order_z": 1, "force_separate_z": False}
    numbers = plan.network
    plans = {
        "dataset_name": DATASET,
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {
            "0": {
                "mean": plan.intensity.mean_hu,
                "std": plan.intensity.std_hu,
                "percentile_00_5": plan.intensity.clip_low_hu,
                "percentile_99_5": plan.intensity.clip_high_hu,
            }
        },
        "configurations": {
            CONFIGURATION: {
                "data_identifier": "stock",
                "preprocessor_name": "DefaultPreprocessor",
                "batch_size": 1,
                "patch_size": plan.patch,
                "spacing": plan.spacing_mm,
                "normalization_schemes": ["CTNormalization"],
                "use_mask_for_norm": [False],
                "resampling_fn_data": "resample_data_or_seg_to_shape",
                "resampling_fn_seg": "resample_data_or_seg_to_shape",
                "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
                "resampling_fn_data_kwargs": linear,
                "resampling_fn_seg_kwargs": {**linear, "is_seg": True},
                "resampling_fn_probabilities_kwargs": linear,
                "batch_dice": True,
                "architecture": {
                    "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
                    "arch_kwargs": {
                        "n_stages": len(numbers.features),
                        "features_per_stage": numbers.features,
                        "conv_op": "torch.nn.modules.conv.Conv3d",
                        "kernel_sizes": numbers.kernels,
                        "strides": numbers.strides,
                        "n_conv_per_stage": numbers.convs_encoder,
                        "n_conv_per_stage_decoder": numbers.convs_decoder,
                        "conv_bias": numbers.conv_bias,
                        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
                        "norm_op_kwargs": {"eps": numbers.norm_eps, "affine": numbers.norm_affine},
                        "dropout_op": None,
                        "dropout_op_kwargs": None,
                        "nonlin": "torch.nn.LeakyReLU",
                        "nonlin_kwargs": {"inplace": True, "negative_slope": numbers.leak},
                    },
                    "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
                },
            }
        },
    }
    dataset = {
        "channel_names": {"0": "CT"},
        "labels": {name: value for value, name in enumerate(plan.labels)},
        "numTraining": 1,
        "file_ending": ".nii.gz",
    }
    (out / "fold_all").mkdir(parents=True, exist_ok=True)
    (out / "plans.json").write_text(json.dumps(plans))
    (out / "dataset.json").write_text(json.dumps(dataset))
    checkpoint = {
        "network_weights": with_aliases(plans, len(plan.labels), network.state_dict()),
        "trainer_name": "nnUNetTrainer",
        "init_args": {"configuration": CONFIGURATION},
        "inference_allowed_mirroring_axes": None,
    }
    torch.save(checkpoint, out / "fold_all" / "checkpoint_final.pth")


def with_aliases(plans: dict, outputs: int, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights under all the names that nnU-Net's own network has for them."""
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    architecture = plans["configurations"][CONFIGURATION]["architecture"]
    network = get_network_from_plans(
        architecture["network_class_name"],
        architecture["arch_kwargs"],
        architecture["_kw_requires_import"],
        1,
        outputs,
        deep_supervision=False,
    )
    network.load_state_dict(state, strict=False)
    return network.state_dict()


def predict(results: Path, inputs: Path, outputs: Path, *, threads: int) -> Run:
    """Run nnU-Net's command without mirroring and without worker processes.

    Raises:
        RuntimeError: It failed; with what it said last.
    """
    command = [
        str(Path(sys.executable).parent / "nnUNetv2_predict"),
        *("-i", str(inputs), "-o", str(outputs), "-d", DATASET, "-c", CONFIGURATION, "-f", "all"),
        *("-npp", "0", "-nps", "0", "-device", "cpu", "--disable_tta", "--disable_progress_bar"),
    ]
    outputs.mkdir(parents=True, exist_ok=True)
    environment = {
        **os.environ,
        **{f"nnUNet_{name}": str(results) for name in ("raw", "preprocessed", "results")},
        "OMP_NUM_THREADS": str(threads),
    }
    return timed(command, environment)


def timed(command: list[str], environment: dict[str, str]) -> Run:
    """Run a command to its end; wall time and the peak of its resident memory."""
    started = time.perf_counter()
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    said = process.stderr.read() if process.stderr else ""
    _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - started
    if status != 0:
        raise RuntimeError(f"{command[0]} failed: {said[-500:]}")
    return Run(wall_s, usage.ru_maxrss / 2**20)
