"""The folder of a new submission: a template that runs at once, or a script that somebody has already."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from harness.errors import ConfigurationError
from harness.submission.manifest import NAME_PATTERN

DEFAULT_ARGUMENTS = "{inputs} {outputs}"
_EXECUTABLE = 0o755
_LONGEST = 64


def from_template(team: str, submissions: Path) -> Path:
    """Write submissions/TEAM with a method to replace: it builds, and passes a check, as it is.

    Raises:
        ConfigurationError: the name cannot be a submission's, or is taken.
    """
    files = {
        "predict.py": _PREDICT_PY,
        "predict.sh": _predict_sh("predict.py", DEFAULT_ARGUMENTS),
        "Dockerfile": _dockerfile([], requirements=False),
        "submission.toml": manifest_of(team, "A start: soft tissue by its HU", build_network=False),
    }
    return write_folder(team, submissions, files, {})


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
    if requirements is not None:
        copies["requirements.txt"] = requirements
    files = {
        "predict.sh": _predict_sh(script.name, arguments),
        "Dockerfile": _dockerfile([*copies], requirements=requirements is not None),
        "submission.toml": manifest_of(team, f"From {script.name}", build_network=requirements is not None),
    }
    if taken := sorted(set(files) & set(copies)):
        raise ConfigurationError("a file bears a name that the submission needs", where=taken[0])
    return write_folder(team, submissions, files, copies)


def write_folder(team: str, submissions: Path, files: dict[str, str], copies: dict[str, Path]) -> Path:
    """Write submissions/TEAM of texts and of copies, whole or not at all.

    Raises:
        ConfigurationError: the name cannot be a submission's, or is taken.
    """
    if not re.fullmatch(NAME_PATTERN, team) or len(team) > _LONGEST:
        raise ConfigurationError(
            f"{team!r} cannot be a submission's name", mend="Use lower case letters, digits, `_` and `-`."
        )
    folder = submissions / team
    if folder.exists():
        raise ConfigurationError(
            "there is a submission of that name", where=folder, mend="Choose another, or remove it."
        )
    submissions.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=submissions, prefix=f".new-{team}-") as place:
        made = Path(place) / team
        made.mkdir()
        for name, text in files.items():
            (made / name).write_text(text, encoding="utf-8")
        (made / "predict.sh").chmod(_EXECUTABLE)
        for name, source in copies.items():
            if source.is_dir():
                shutil.copytree(source, made / name)
            else:
                shutil.copyfile(source, made / name)
        made.rename(folder)
    return folder


def manifest_of(team: str, title: str, *, build_network: bool) -> str:
    """Return the text of a submission.toml."""
    lines = [f'name = "{team}"', f"title = {json.dumps(title, ensure_ascii=False)}", 'device = "cpu"']
    if build_network:
        lines.append("build_network = true  # pip, in the Dockerfile; a case itself has no network")
    return "\n".join([*lines, "", "[limits]", "memory_gb = 4", ""])


def _predict_sh(script: str, arguments: str) -> str:
    words = arguments.replace("{inputs}", '"$inputs"').replace("{outputs}", '"$outputs"')
    return _PREDICT_SH.format(call=f"python3 {script} {words}")


def _dockerfile(copies: Sequence[str], *, requirements: bool) -> str:
    lines = ["# Python, numpy, scipy, SimpleITK, torch and OpenVINO.", "FROM flareharness/runtime:cpu"]
    if requirements:
        lines += [
            "USER root",
            "COPY requirements.txt /tmp/requirements.txt",
            "RUN pip install --no-cache-dir --requirement /tmp/requirements.txt",
            "USER 65532",
        ]
    lines += ["WORKDIR /workspace", "COPY predict.sh ./"]
    for name in copies or ["predict.py"]:
        if name != "requirements.txt":
            lines.append(f'COPY ["{name}", "./{name}"]')
    return "\n".join([*lines, ""])


_PREDICT_SH = """\
#!/bin/sh
# The contract's entry: reads the CTs of one folder, writes a label map for each into the other. `sh` runs it.
set -eu
cd "$(dirname "$0")"
inputs=${{FLARE_INPUTS:-/workspace/inputs}}
outputs=${{FLARE_OUTPUTS:-/workspace/outputs}}
{call}
# An output bears its case's name, without the number of the channel.
for file in "$outputs"/*_0000.nii.gz; do
    [ ! -e "$file" ] || mv "$file" "${{file%_0000.nii.gz}}.nii.gz"
done
"""

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
