"""The words of nnU-Net v1's published commands, and what they are called in v2."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from segkit.errors import TrainingDataError
from segkit.log import log

CONFIGURATIONS = ("2d", "3d_fullres", "3d_lowres", "3d_cascade_fullres")
FOLDS = ("0", "1", "2", "3", "4")
ALL = "all"
_OF_V1 = {"3d": "3d_fullres", "3d_cascade": "3d_cascade_fullres", "cascade": "3d_cascade_fullres"}
_NUMBERED = re.compile(r"(?:Task|Dataset)?(\d{1,3})(?:_(.+))?")


def configuration_named(word: str) -> str:
    """nnU-Net v2's name of a configuration.

    Args:
        word: A name of v2, or of v1's published text, such as `3d`.

    Raises:
        TrainingDataError: It is neither.
    """
    name = _OF_V1.get(word, word)
    if name not in CONFIGURATIONS:
        raise TrainingDataError(
            f"there is no configuration {word!r}; nnU-Net has {', '.join(CONFIGURATIONS)}, and v1's 3d is "
            "3d_fullres"
        )
    if name != word:
        log.info(f"v1's {word} is {name} in nnU-Net v2")
    return name


def member_named(text: str) -> tuple[str, str]:
    """The configuration and the fold of CONFIGURATION:FOLD.

    Raises:
        TrainingDataError: The text names no member.
    """
    word, _, fold = text.rpartition(":")
    if not word or fold not in (*FOLDS, ALL):
        raise TrainingDataError(
            f"{text!r} is no CONFIGURATION:FOLD, such as 3d_fullres:0; folds are 0 to 4, and all"
        )
    return configuration_named(word), fold


def dataset_named(folder: str) -> str:
    """nnU-Net v2's name of a data set: Dataset017_AbdomenCT for Task017_AbdomenCT, Dataset001_x for x."""
    match = _NUMBERED.fullmatch(folder)
    number, name = (int(match[1]), match[2] or "data") if match else (1, folder)
    return f"Dataset{number:03d}_{re.sub(r'[^A-Za-z0-9]+', '', name) or 'data'}"


def data_named(word: str, environment: Mapping[str, str]) -> Path:
    """The folder of a data set: a path, or a name or number as nnU-Net's commands take them.

    Args:
        word: A folder; or Task017_NAME, Dataset017_NAME or 17, looked for in the folders that nnU-Net's
            variables name.
        environment: Has nnUNet_raw (v2) or nnUNet_raw_data_base (v1).

    Raises:
        TrainingDataError: No such folder, or several.
    """
    folder = Path(word)
    if folder.is_dir():
        return folder
    match = _NUMBERED.fullmatch(word)
    roots = _raw_folders(environment)
    if match is None or not roots:
        raise TrainingDataError(
            f"{word} is no folder; give one with imagesTr and labelsTr, or set nnUNet_raw (v1: "
            "nnUNet_raw_data_base) and give a name such as Task017_NAME or Dataset017_NAME"
        )
    found = [path for root in roots for path in _numbered(root, int(match[1]))]
    if len(found) != 1:
        what = "no data set" if not found else f"{len(found)} data sets"
        raise TrainingDataError(
            f"{what} of number {int(match[1])} in {', '.join(map(str, roots))}; give the folder itself"
        )
    return found[0]


def _raw_folders(environment: Mapping[str, str]) -> Sequence[Path]:
    named = [
        (environment.get("nnUNet_raw"), ""),
        (environment.get("nnUNet_raw_data_base"), "nnUNet_raw_data"),
    ]
    return [Path(root) / below for root, below in named if root]


def _numbered(root: Path, number: int) -> list[Path]:
    folders = [path for kind in ("Task", "Dataset") for path in root.glob(f"{kind}{number:03d}_*")]
    return sorted(path for path in folders if path.is_dir())
