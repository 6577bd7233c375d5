"""nnU-Net's plans, and the folders in which it looks for things."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segkit.errors import TrainingDataError
from segkit.training.recipe import Recipe

DATASET_ID = 1
PLANS_NAME = "segkit"
_RESAMPLING = "resample_data_or_seg_to_shape"


@dataclass(frozen=True)
class Layout:
    """Where nnU-Net keeps things in a work folder.

    Attributes:
        work: The work folder.
        task: The task's name.
        axes: 2 or 3.
    """

    work: Path
    task: str
    axes: int

    @property
    def dataset(self) -> str:
        """nnU-Net's name of the data."""
        return f"Dataset{DATASET_ID:03d}_{self.task}"

    @property
    def configuration(self) -> str:
        """nnU-Net's name of what is trained."""
        return f"{self.axes}d"

    @property
    def preprocessed(self) -> Path:
        """Fingerprint, plans and the cases on the network's grid."""
        return self.work / "preprocessed" / self.dataset

    def fold(self, trainer: str, fold: str | int) -> Path:
        """The folder with a training's checkpoints."""
        name = f"{trainer}__{PLANS_NAME}__{self.configuration}"
        return self.work / "results" / self.dataset / name / f"fold_{fold}"


@contextmanager
def environment(layout: Layout, threads: int, import_from: Sequence[Path]) -> Iterator[None]:
    """Let nnU-Net work in this work folder, and put everything back afterwards.

    nnU-Net 2.8 reads these variables whenever it needs them, so that trainings with different work
    folders can follow each other in one process.

    Args:
        layout: The work folder.
        threads: CPU threads to use.
        import_from: Folders from which network classes are imported.
    """
    defaults = {
        # On few cores a second process only takes time from the network.
        "nnUNet_n_proc_DA": "0" if threads <= 4 else str(min(12, threads - 2)),
        "OMP_NUM_THREADS": str(threads),
    }
    wanted = {
        # nnU-Net asks for this folder, and nothing is ever put into it.
        "nnUNet_raw": str(layout.work / "raw"),
        "nnUNet_preprocessed": str(layout.work / "preprocessed"),
        "nnUNet_results": str(layout.work / "results"),
        **{name: os.environ.get(name, value) for name, value in defaults.items()},
    }
    before = {name: os.environ.get(name) for name in wanted}
    path_before = list(sys.path)
    os.environ.update(wanted)
    sys.path[:0] = [str(folder) for folder in import_from]
    try:
        yield
    finally:
        sys.path[:] = path_before
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def write_plans(
    layout: Layout, fingerprint: Mapping[str, Any], recipe: Recipe, architecture: Mapping[str, Any]
) -> dict[str, Any]:
    """Write nnU-Net's plans: intensities of the data unless the recipe has its own, the rest from the recipe.

    Resampling is that of the recipe on all axes, linear unless it says otherwise, and linear at inference.

    Returns:
        The plans.

    Raises:
        TrainingDataError: Network and patch do not fit.
    """
    _check_architecture(architecture, recipe)
    intensity = fingerprint["foreground_intensity_properties_per_channel"]["0"]
    spacings = np.array(fingerprint["spacings"])
    shapes = np.array(fingerprint["shapes_after_crop"])
    grids = (shapes * spacings)[:, -len(recipe.spacing) :] / np.array(recipe.spacing)
    configuration = {
        "data_identifier": f"{PLANS_NAME}_{layout.configuration}",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": recipe.batch_size,
        "patch_size": list(recipe.patch_size),
        "spacing": list(recipe.spacing),
        "median_image_size_in_voxels": np.median(grids, axis=0).tolist(),
        "normalization_schemes": ["CTNormalization"],
        "use_mask_for_norm": [False],
        "resampling_fn_data": _RESAMPLING,
        "resampling_fn_data_kwargs": _splines(recipe.preparation.image_order, is_label=False),
        "resampling_fn_seg": _RESAMPLING,
        "resampling_fn_seg_kwargs": _splines(recipe.preparation.label_order, is_label=True),
        "resampling_fn_probabilities": _RESAMPLING,
        "resampling_fn_probabilities_kwargs": _splines(1, is_label=False),
        "architecture": {"_kw_requires_import": [], **architecture},
        "batch_dice": recipe.batch_dice,
        "schedule": recipe.schedule.to_dict(),
    }
    plans = {
        "dataset_name": layout.dataset,
        "plans_name": PLANS_NAME,
        "original_median_spacing_after_transp": np.median(spacings, axis=0).tolist(),
        "original_median_shape_after_transp": np.median(shapes, axis=0).astype(int).tolist(),
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {layout.configuration: configuration},
        "experiment_planner_used": "segkit.training",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {"0": {**intensity, **recipe.intensity}},
    }
    (layout.preprocessed / f"{PLANS_NAME}.json").write_text(json.dumps(plans, indent=2))
    return plans


def _splines(order: int, *, is_label: bool) -> dict[str, Any]:
    """The same splines along all axes, whatever the anisotropy."""
    return {"is_seg": is_label, "order": order, "order_z": order, "force_separate_z": False}


def _check_architecture(architecture: Mapping[str, Any], recipe: Recipe) -> None:
    try:
        strides = architecture["arch_kwargs"]["strides"]
        name = architecture["network_class_name"]
    except KeyError as error:
        raise TrainingDataError(
            f"the architecture lacks {error}; it needs network_class_name and arch_kwargs with strides"
        ) from error
    if len(strides) < 3:
        # nnU-Net gives the coarsest of a network's outputs no weight in the loss, so it needs two.
        raise TrainingDataError(f"{name} has {len(strides)} stages; deep supervision needs at least three")
    if any(len(stride) != len(recipe.patch_size) for stride in strides):
        raise TrainingDataError(
            f"{name} has strides of {len(strides[0])} axes and the recipe a patch of {len(recipe.patch_size)}"
        )
    divisors = np.prod(strides, axis=0)
    if any(size % divisor for size, divisor in zip(recipe.patch_size, divisors, strict=True)):
        raise TrainingDataError(
            f"a patch of {list(recipe.patch_size)} is not divisible by {divisors.tolist()}, the product of "
            f"the strides of {name}"
        )
