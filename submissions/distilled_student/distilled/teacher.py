"""The trained teacher: finds tumours in a CT slice by slice. No pickle is opened to use it.

save_teacher(Path("results/fold_all/checkpoint_final.pth"), Path("teacher"))
labels = load_teacher(Path("teacher")).segment(read_ct(Path("case_0000.nii.gz")))
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from segkit.body import find_body
from segkit.convert import load_checkpoint, without_aliases
from segkit.cpu import usable_cpus
from segkit.errors import PlanError
from segkit.image import CT
from segkit.plan import Intensity
from segkit.predict import normaliser
from segkit.resample import affordable_shape, grid_shape, resample_image
from segkit.torch_engine import best_device, multiplies_bfloat16
from segkit.windows import run_tiles

from distilled.attention_unet import AttentionUNet2d
from distilled.teacher_plan import TeacherPlan, load_network, write_teacher

STEP = 0.5
"""Distance of neighbouring windows in a slice, as a fraction of the window."""

_PIXELS_AT_ONCE = 2**19
"""Pixels of windows that go through the network together; its features take up to some 2 KB for each."""

_PIXELS_PER_SLICE = 2**22
"""The largest slice on the network's grid: 1.6 m a side at the published 0.8 mm."""


class Teacher:
    """A trained teacher, ready to label one CT after another."""

    def __init__(
        self,
        plan: TeacherPlan,
        network: AttentionUNet2d,
        device: str | None = None,
        threads: int | None = None,
    ):
        """Make a network ready.

        Args:
            plan: What the network was trained for.
            network: Moved to the device.
            device: "cpu" or "cuda"; the GPU where there is one if None.
            threads: CPU threads; what this process may use if None.

        Raises:
            PlanError: The network's strides do not divide the plan's patch.
        """
        if any(size % divisor for size, divisor in zip(plan.patch, network.divisor, strict=True)):
            raise PlanError(
                f"a patch of {plan.patch} cannot be halved as often as the network's strides ask; its sides "
                f"must be multiples of {network.divisor}."
            )
        self.plan = plan
        self.device = torch.device(device or best_device())
        self.network = network.to(self.device).eval()
        self.bfloat16 = multiplies_bfloat16(self.device)
        torch.set_num_threads(threads or usable_cpus())

    def segment(self, ct: CT) -> np.ndarray:
        """Where the teacher sees a tumour.

        Memory beside the CT and the result is that of a few slices, however many there are.

        Args:
            ct: In canonical orientation, as `read_ct` gives it.

        Returns:
            uint8 array of the CT's shape, 1 in a tumour; all zero where no body is found.
        """
        labels = np.zeros(ct.array.shape, dtype=np.uint8)
        body = find_body(ct.array, ct.spacing_mm)
        if body is None:
            return labels
        array, target = ct.array[body.box], labels[body.box]
        at_once = max(1, _PIXELS_AT_ONCE // (self.plan.patch[0] * self.plan.patch[1]))
        for first in range(0, array.shape[0], at_once):
            some = slice(first, first + at_once)
            target[some] = self._evidence(array[some], ct.spacing_mm) > 0
        return labels

    def _evidence(self, slices_hu: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
        """Logit of the tumour less that of the background, float32, in the shape of `slices_hu`.

        Resampling is linear, so their difference can be resampled in place of both.
        """
        wanted = grid_shape(slices_hu.shape, spacing_mm, (spacing_mm[0], *self.plan.spacing_mm))
        shape = affordable_shape(wanted, (wanted[0], 1, 1), wanted[0] * _PIXELS_PER_SLICE)
        image = resample_image(slices_hu, shape, normaliser(self.plan.intensity))
        evidence = run_tiles(
            image,
            classes=1,
            tile=(shape[0], *self.plan.patch),
            step=STEP,
            logits_of=self._evidence_in_window,
            worth_looking=lambda window: True,
        )
        return resample_image(evidence[0], slices_hu.shape)

    def _evidence_in_window(self, window: np.ndarray) -> np.ndarray:
        """The same for one window (slice, y, x) of the network's size, with a leading axis."""
        with torch.inference_mode():
            images = torch.from_numpy(np.ascontiguousarray(window))[:, None].to(self.device)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
                logits = self.network(images).float()
            return (logits[:, 1] - logits[:, 0])[None].cpu().numpy()


def load_teacher(folder: Path, device: str | None = None, threads: int | None = None) -> Teacher:
    """The teacher of a folder that `save_teacher` wrote.

    Args:
        folder: Holds plans.json and model.safetensors.
        device: "cpu" or "cuda"; the GPU where there is one if None.
        threads: CPU threads; what this process may use if None.

    Raises:
        PlanError: A file is missing or damaged, or the weights do not fit the plan.
    """
    plan, network = load_network(folder)
    return Teacher(plan, network, device, threads)


def save_teacher(checkpoint: Path, out: Path) -> None:
    """Write a checkpoint of nnU-Net as float16 weights and a plan.

    A checkpoint is a pickle. It is opened with torch's restricted unpickler, which runs no code.

    Args:
        checkpoint: In its fold's folder, where the training left it; plans.json and dataset.json lie above.
        out: The teacher's folder; each file appears whole or not at all.

    Raises:
        PlanError: A file is missing, the training was no teacher's, or it has diverged.
    """
    plans_path, dataset_path = (checkpoint.parent.parent / name for name in ("plans.json", "dataset.json"))
    for path in (checkpoint, plans_path, dataset_path):
        if not path.is_file():
            raise PlanError(f"{path} is missing; nnU-Net leaves it in its results folder.")
    content = load_checkpoint(checkpoint)
    configuration = content["init_args"]["configuration"]
    plan = _plan_of(
        json.loads(plans_path.read_text()),
        json.loads(dataset_path.read_text()),
        configuration,
        source={
            "trainer": str(content.get("trainer_name", "unknown")),
            "epochs": str(content.get("current_epoch", "unknown")),
        },
    )
    try:
        write_teacher(out, plan, without_aliases(content["network_weights"]))
    except RuntimeError as error:
        raise PlanError(f"{checkpoint} does not hold the weights of {plans_path}: {error}") from error


def _plan_of(
    plans: dict[str, Any], dataset: dict[str, Any], configuration: str, source: dict[str, str]
) -> TeacherPlan:
    """The plan of a training, from nnU-Net's files."""
    settings = plans["configurations"][configuration]
    architecture = settings["architecture"]
    if architecture["network_class_name"].rsplit(".", 1)[-1] != AttentionUNet2d.__name__:
        raise PlanError(
            f"the training is that of a {architecture['network_class_name']}; a teacher is an "
            f"{AttentionUNet2d.__name__}."
        )
    intensity = plans["foreground_intensity_properties_per_channel"]["0"]
    return TeacherPlan(
        spacing_mm=tuple(settings["spacing"]),
        patch=tuple(settings["patch_size"]),
        intensity=Intensity(
            clip_low_hu=intensity["percentile_00_5"],
            clip_high_hu=intensity["percentile_99_5"],
            mean_hu=intensity["mean"],
            std_hu=intensity["std"],
        ),
        labels=tuple(sorted(dataset["labels"], key=lambda name: int(dataset["labels"][name]))),
        network=architecture["arch_kwargs"],
        source={"dataset": plans["dataset_name"], "configuration": configuration, **source},
    )
