"""Tiny models and volumes. The tests of this folder need torch and say so where it is missing."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

# Read when torch is imported, here and in the programs that tests start. Threads that wait for each other by
# spinning take five times the CPU time, and longer as well, where other jobs share the cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

SUBMISSIONS = Path(__file__).resolve().parents[3] / "submissions"


@pytest.fixture(scope="session")
def submissions() -> Path:
    """The folder with one folder per method."""
    return SUBMISSIONS


@pytest.fixture
def tiny_plan():
    """A plan of two stages, 16 voxels a side, 3 outputs."""
    return make_tiny_plan()


@pytest.fixture
def tiny_model(tiny_plan):
    """A plan and a network with random weights."""
    torch = pytest.importorskip("torch")
    from segkit.network import PlainConvUNet

    torch.manual_seed(0)
    network = PlainConvUNet(tiny_plan.network).eval()
    return tiny_plan, network


def make_tiny_plan(**changes):
    """The plan of `tiny_plan` with some fields replaced."""
    from segkit.plan import Intensity, NetworkPlan, Plan

    fields = {
        "spacing_mm": (3.0, 2.0, 2.0),
        "patch": (16, 16, 16),
        "intensity": Intensity(clip_low_hu=-200, clip_high_hu=300, mean_hu=40, std_hu=60),
        "labels": ("background", "one", "two"),
        "network": NetworkPlan(
            channels_in=1,
            channels_out=3,
            features=(4, 8),
            kernels=((3, 3, 3), (3, 3, 3)),
            strides=((1, 1, 1), (2, 2, 2)),
            convs_encoder=(2, 2),
            convs_decoder=(2,),
        ),
    }
    return Plan(**{**fields, **changes})


@pytest.fixture
def body_hu() -> np.ndarray:
    """A block of soft tissue with some structure in air, 24 x 40 x 36 (z, y, x), int16."""
    return make_body_hu((24, 40, 36))


def write_flipped(path: Path, array: np.ndarray, spacing_mm: tuple[float, float, float]) -> None:
    """Write an array (z, y, x) as an image whose x and y run to the patient's right and front, as many do."""
    import SimpleITK as sitk

    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing_mm)
    image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
    sitk.WriteImage(image, str(path))


def make_body_hu(shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    """Soft tissue with smooth random structure, air in the outer sixth of y and x."""
    from scipy import ndimage

    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2.0)
    array = np.full(shape, -1000, dtype=np.int16)
    inner = (slice(None), *(slice(size // 6, size - size // 6) for size in shape[1:]))
    array[inner] = (40 + 1500 * noise[inner]).clip(-300, 600)
    return array
