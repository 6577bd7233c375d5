"""Every CT of the inputs folder to a label map in the outputs folder: the contract of a submission."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import numpy as np

from segkit.errors import ImageError, SegkitError
from segkit.image import CT, read_ct, write_labels
from segkit.log import log
from segkit.profile import Profile, since_process_start_s

IMAGE_ENDING = "_0000.nii.gz"
LABEL_ENDING = ".nii.gz"


class Method(Protocol):
    """Anything that labels a CT."""

    def segment(self, ct: CT) -> np.ndarray:
        """uint8 labels of the shape of `ct.array`."""
        ...


def add_folder_options(parser: argparse.ArgumentParser) -> None:
    """The options that every method has; its image needs none of them. The harness names the folders."""
    inputs = Path(os.environ.get("FLARE_INPUTS", "/workspace/inputs"))
    outputs = Path(os.environ.get("FLARE_OUTPUTS", "/workspace/outputs"))
    parser.add_argument("--inputs", type=Path, default=inputs)
    parser.add_argument("--outputs", type=Path, default=outputs)
    parser.add_argument("--profile", action="store_true", help="say where the time of each case goes")


def read_channels(first: Path) -> CT:
    """The image of a case with those of its further channels, <case>_0001.nii.gz and on.

    Args:
        first: <case>_0000.nii.gz.

    Raises:
        ImageError: A channel cannot be read, or does not lie on the grid of the first.
    """
    ct = read_ct(first)
    stem = first.name.removesuffix(IMAGE_ENDING)
    more = []
    for number in itertools.count(1):
        path = first.with_name(f"{stem}_{number:04d}{LABEL_ENDING}")
        if not path.is_file():
            break
        channel = read_ct(path)
        if channel.array.shape != ct.array.shape or channel.orientation != ct.orientation:
            raise ImageError(
                f"{path}: its grid {channel.array.shape} is not the {ct.array.shape} of {first.name}; "
                "resample all channels of a case to one grid."
            )
        more.append(channel.array)
    return dataclasses.replace(ct, more_channels=tuple(more)) if more else ct


def segment_folder(
    inputs: Path, outputs: Path, load: Callable[[Profile], Method], *, show_profile: bool = False
) -> int:
    """Segment every CT; one that cannot be read does not stop the others.

    The method is loaded while the first CT is being inflated.

    Args:
        inputs: Holds <case>_0000.nii.gz, and <case>_0001.nii.gz and on where a case has several channels.
        outputs: Gets <case>.nii.gz; made where missing.
        load: Makes the method ready; given the profile to fill.
        show_profile: Print a table of stages for each case.

    Returns:
        The exit code: 0, 1 if a case failed, 2 if nothing could be done.
    """
    images = sorted(inputs.glob(f"*{IMAGE_ENDING}"))
    if not images:
        log.error(f"error: no <case>{IMAGE_ENDING} in {inputs}")
        return 2
    outputs.mkdir(parents=True, exist_ok=True)
    profile = Profile()
    profile.add("start of python", since_process_start_s(), time.process_time())
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(load, profile)
        failed = 0
        for path in images:
            case = path.name.removesuffix(IMAGE_ENDING)
            started = time.monotonic()
            try:
                with profile.stage("read"):
                    ct = read_channels(path)
            except SegkitError as error:
                log.info(f"error: {error}")
                failed += 1
                continue
            try:
                with profile.stage("wait for the model"):
                    method = loading.result()
            except SegkitError as error:
                log.info(f"error: {error}")
                return 2
            try:
                labels = method.segment(ct)
                with profile.stage("write"):
                    write_labels(outputs / f"{case}{LABEL_ENDING}", labels, like=ct)
            except SegkitError as error:
                log.info(f"error: {error}")
                failed += 1
                continue
            log.info(f"{case}: {ct.array.shape} voxels in {time.monotonic() - started:.1f} s")
            if show_profile:
                log.info(profile.table())
                profile.clear()
    return 1 if failed else 0
