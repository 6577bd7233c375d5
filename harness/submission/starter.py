"""The folder of a new submission: a template that runs at once, or a script that somebody has already."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from harness.errors import ConfigurationError
from harness.submission.folder import Parts, create, dockerfile, predict_sh

DEFAULT_ARGUMENTS = "{inputs} {outputs}"


def from_template(team: str, submissions: Path) -> Path:
    """Write submissions/TEAM with a method to replace: it builds, and passes a check, as it is.

    Raises:
        ConfigurationError: the name cannot be a submission's, or is taken.
    """
    parts = Parts(
        title="A start: soft tissue by its HU",
        about="Put your method into `segment` of `predict.py`.",
        predict_sh=_called("predict.py", DEFAULT_ARGUMENTS),
        dockerfile=dockerfile(["predict.py"]),
        texts={"predict.py": _PREDICT_PY},
    )
    return create(team, submissions, parts)


def from_script(
    team: str,
    submissions: Path,
    script: Path,
    *,
    arguments: str = DEFAULT_ARGUMENTS,
    weights: Sequence[Path] = (),
    requirements: Path | None = None,
) -> Path:
    """Write submissions/TEAM around a Python script that predicts a folder of images.

    Args:
        team: The submission's name.
        submissions: Where submissions lie.
        script: The script; it is copied.
        arguments: How it is called; `{inputs}` and `{outputs}` are the folders.
        weights: Files and folders that are copied beside it.
        requirements: What pip installs while the image is built, over the network.

    Raises:
        ConfigurationError: the name cannot be a submission's or is taken, or a file is not there.
    """
    for path, option in [(script, "--script"), *((path, "--with") for path in weights)]:
        if not path.exists():
            raise ConfigurationError("there is no such file", where=f"{path} ({option})")
    if requirements is not None and not requirements.is_file():
        raise ConfigurationError("there is no such file", where=f"{requirements} (--requirements)")
    if not re.fullmatch(r"[\w.+-]+\.py", script.name):
        raise ConfigurationError(
            "a script is a .py file, named without spaces", where=script, mend="Rename or wrap it."
        )
    unknown = set(re.findall(r"{(\w*)}", arguments)) - {"inputs", "outputs"}
    if unknown or "{outputs}" not in arguments:
        raise ConfigurationError(
            "the arguments do not say where inputs and outputs go",
            where="--arguments",
            mend='E.g. --arguments "-i {inputs} -o {outputs}".',
        )
    copies = {path.name: path for path in (script, *weights)}
    beside = {"requirements.txt": requirements} if requirements is not None else {}
    parts = Parts(
        title=f"From {script.name}",
        about=f"`predict.sh` calls `{script.name}`; what lies beside it was copied along.",
        predict_sh=_called(script.name, arguments),
        dockerfile=dockerfile([*copies], requirements=requirements is not None),
        copies=copies | beside,
        build_network=requirements is not None,
    )
    return create(team, submissions, parts)


def _called(script: str, arguments: str) -> str:
    words = arguments.replace("{inputs}", '"$inputs"').replace("{outputs}", '"$outputs"')
    return predict_sh(f"python3 {script} {words}", *_RENAMED)


_RENAMED = (
    "# An output bears its case's name, without the number of the channel.",
    'for file in "$outputs"/*_0000.nii.gz; do',
    '    [ ! -e "$file" ] || mv "$file" "${file%_0000.nii.gz}.nii.gz"',
    "done",
)

_PREDICT_PY = '''\
"""Segment every CT of a folder: python3 predict.py INPUTS OUTPUTS. Put your method into `segment`."""

import sys
from pathlib import Path

import numpy as np
import SimpleITK as sitk


def segment(hu: np.ndarray, spacing_mm: tuple[float, ...]) -> np.ndarray:
    """Return a label for every voxel; 0 is background, the challenge says what the others are.

    hu is (z, y, x), and spacing_mm is in the same order.
    """
    labels = np.zeros(hu.shape, np.uint8)
    labels[(hu > 80) & (hu < 160)] = 1  # replace this: bright soft tissue is called label 1
    return labels


def main(inputs: Path, outputs: Path) -> None:
    for path in sorted(inputs.glob("*_0000.nii.gz")):
        image = sitk.ReadImage(str(path))
        labels = segment(sitk.GetArrayFromImage(image), image.GetSpacing()[::-1])
        result = sitk.GetImageFromArray(labels.astype(np.uint8))
        result.CopyInformation(image)
        case = path.name.removesuffix("_0000.nii.gz")
        sitk.WriteImage(result, str(outputs / f"{case}.nii.gz"))
        print(case, "done", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
'''
