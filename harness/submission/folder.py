"""The folder of a new submission: one writer, which each way of making a submission fills."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from evaluator.labels import Label
from harness.challenge import draft
from harness.errors import ConfigurationError
from harness.submission.find import ENTRY, MANIFEST
from harness.submission.manifest import MOST_TITLE_LETTERS, check_name
from harness.submission.recipes import RUNTIME_CPU
from harness.text import printable, toml_value

CHALLENGE = "challenge.toml"
_EXECUTABLE = 0o755


@dataclass(frozen=True)
class Parts:
    """What differs from one new submission to the next.

    Attributes:
        title: What it is, in words.
        dockerfile: The text of its Dockerfile.
        predict_sh: The text of its predict.sh; see `predict_sh`.
        about: The README's own part, in Markdown.
        challenge: The text of a challenge.toml of its labels; empty for none.
        texts: More files by name.
        copies: Files and folders that are copied, by their new name.
        memory_gb: What a case asks for.
        time_s: How long it may take; None leaves that to the challenge.
        build_network: Whether building needs the network.
    """

    title: str
    dockerfile: str
    predict_sh: str
    about: str = ""
    challenge: str = ""
    texts: Mapping[str, str] = field(default_factory=dict)
    copies: Mapping[str, Path] = field(default_factory=dict)
    memory_gb: int = 4
    time_s: int | None = None
    build_network: bool = False


def create(team: str, submissions: Path, parts: Parts) -> Path:
    """Write submissions/TEAM, whole or not at all, and return it.

    Raises:
        ConfigurationError: the name cannot be a submission's or is taken, or two files have one name.
    """
    with new_folder(team, submissions) as made:
        fill(made, team, parts)
    return submissions / team


@contextmanager
def new_folder(team: str, submissions: Path) -> Iterator[Path]:
    """Yield an empty folder, which is submissions/TEAM once the block has ended well.

    Raises:
        ConfigurationError: the name cannot be a submission's, or is taken.
    """
    check_name(team)
    folder = submissions / team
    if folder.exists():
        raise ConfigurationError(
            "there is a submission of that name", where=folder, mend="Choose another, or remove it."
        )
    submissions.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=submissions, prefix=f".new-{team}-") as place:
        made = Path(place) / team
        made.mkdir()
        yield made
        made.rename(folder)


def fill(folder: Path, team: str, parts: Parts) -> None:
    """Write a submission's files into a folder that exists.

    Raises:
        ConfigurationError: a copy has the name of a file that the submission needs.
    """
    texts = texts_of(team, parts)
    if taken := sorted(set(texts) & set(parts.copies)):
        raise ConfigurationError("a file bears a name that the submission needs", where=taken[0])
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / ENTRY).chmod(_EXECUTABLE)
    for name, source in parts.copies.items():
        if source.is_dir():
            shutil.copytree(source, folder / name)
        else:
            shutil.copyfile(source, folder / name)


def texts_of(team: str, parts: Parts) -> dict[str, str]:
    """Return the text of every file that is written, by name."""
    own = {CHALLENGE: parts.challenge} if parts.challenge else {}
    return {
        MANIFEST: _manifest(team, parts),
        ENTRY: parts.predict_sh,
        "Dockerfile": parts.dockerfile,
        ".dockerignore": f"README.md\n{CHALLENGE}\n__pycache__\n",
        "README.md": _readme(team, parts),
        **own,
        **parts.texts,
    }


def predict_sh(call: str, *after: str) -> str:
    """Return a predict.sh that knows `$inputs` and `$outputs`, calls a program, and ends with more lines."""
    return "\n".join((_PREDICT_SH + call, *after, ""))


def dockerfile(copies: Sequence[str], *, requirements: bool = False) -> str:
    """Return a Dockerfile on the shared runtime with predict.sh and copies beside it.

    Args:
        copies: Names of files and folders.
        requirements: Whether pip installs what requirements.txt names.
    """
    lines = ["# Python, numpy, scipy, SimpleITK, torch and OpenVINO.", f"FROM {RUNTIME_CPU}"]
    if requirements:
        lines += [
            "USER root",
            "COPY requirements.txt /tmp/requirements.txt",
            "RUN pip install --no-cache-dir --requirement /tmp/requirements.txt",
            "USER 65532",
        ]
    lines += ["WORKDIR /workspace", f"COPY {ENTRY} ./"]
    lines += [f"COPY [{toml_value(name)}, {toml_value(f'./{name}')}]" for name in copies]
    return "\n".join([*lines, ""])


def trained_on(team: str, labels: Sequence[Label], channels: Sequence[str]) -> str:
    """Return the text of a challenge.toml of what a submission was trained on."""
    return draft(
        team,
        labels,
        title=f"What {team} was trained on",
        channels=channels,
        memory="16 GiB",
        time="1 h",
    )


def run_alone(team: str) -> str:
    """Return the commands that run a submission's image without the harness, as a README prints them."""
    return _RUN_ALONE.format(team=team)


def _manifest(team: str, parts: Parts) -> str:
    title = printable(parts.title)[:MOST_TITLE_LETTERS]
    lines = [f"name = {toml_value(team)}", f"title = {toml_value(title)}", 'device = "cpu"']
    if parts.build_network:
        lines.append("build_network = true  # pip, in the Dockerfile; a case itself has no network")
    lines += ["", "# What the image asks of its host; a challenge's own limits come first.", "[limits]"]
    lines.append(f"memory_gb = {parts.memory_gb}")
    if parts.time_s is not None:
        lines.append(f"time_s = {parts.time_s}")
    return "\n".join([*lines, ""])


def _readme(team: str, parts: Parts) -> str:
    rules = f"submissions/{team}/{CHALLENGE}" if parts.challenge else "FILE"
    about = f"\n{parts.about.strip()}\n" if parts.about else ""
    return _README.format(
        team=team, title=printable(parts.title), rules=rules, about=about, alone=run_alone(team)
    )


_PREDICT_SH = """\
#!/bin/sh
# The contract's entry: reads the CTs of one folder, writes a label map for each into the other. `sh` runs it.
set -eu
cd "$(dirname "$0")"
inputs=${FLARE_INPUTS:-/workspace/inputs}
outputs=${FLARE_OUTPUTS:-/workspace/outputs}
"""

_README = """\
# {team}

{title}.

    harness check {team} --challenge {rules} --data DATA
    harness evaluate {team} --challenge {rules} --data DATA
    harness pack {team} --challenge {rules}
{about}
## By hand

{alone}"""

_RUN_ALONE = """\
With the CTs as `inputs/CASE_0000.nii.gz`, the image alone, without the harness around it:

    image=$(harness build {team} --no-sbom | cut -f1)
    mkdir -p outputs
    docker run --rm --network none --user "$(id -u):$(id -g)" \\
        -v "$PWD/inputs:/workspace/inputs:ro" -v "$PWD/outputs:/workspace/outputs" "$image" sh predict.sh

`--user` lets the container write into your folder; the image's own user may not.
"""
