"""What can go wrong in segkit, each with one clear sentence."""

from __future__ import annotations

from pathlib import Path


class SegkitError(Exception):
    """Anything segkit refuses to do; the message says what, where and the mend."""


class ImageError(SegkitError):
    """An image that cannot be read as a CT volume."""


class PlanError(SegkitError):
    """A plan, or weights, that do not describe a network segkit can run."""


class TrainingDataError(SegkitError):
    """The training folder, or a recipe, cannot be used as it is."""


def unreadable_image(path: Path, reason: str) -> ImageError:
    """The error for a file that is no image, or no whole one.

    Args:
        path: The file.
        reason: What the reader said; its last line is passed on.
    """
    last = (reason.strip().splitlines() or ["damaged"])[-1]
    return ImageError(f"{path}: cannot be read as an image ({last}). Is it there, and whole?")
