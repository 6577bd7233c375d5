"""What can go wrong in segkit, each with one clear sentence."""

from __future__ import annotations

import os
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


def mend_of_unwritten(folder: Path) -> str:
    """What to do about a file that a folder does not take."""
    if not folder.is_dir():
        return f"Make the folder {folder}."
    if os.access(folder, os.W_OK | os.X_OK):
        return "Is the disk full?"
    return (
        "The folder belongs to another user: with `docker run`, say "
        '`--user "$(id -u):$(id -g)"` as its owner, or open it (chmod a+rwx).'
    )
