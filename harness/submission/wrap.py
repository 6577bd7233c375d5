"""A submission's folder as one whose image is an algorithm of grand-challenge.org."""

from __future__ import annotations

import json
import shutil
from importlib import resources
from pathlib import Path

from harness.challenge import Sockets
from harness.challenge.sockets import Socket
from harness.errors import SubmissionError
from harness.submission.context import collect
from harness.submission.find import MANIFEST, Submission
from harness.submission.folder import new_folder
from harness.submission.manifest import Manifest
from harness.text import toml_text

PROGRAM = "algorithm.py"
_PLACE = "/opt/algorithm"
_WORK = "/tmp/flare"


def wrap(submission: Submission, folder: Path, sockets: Sockets) -> list[str]:
    """Copy a submission to a new folder, and add what makes its image an algorithm.

    The image still builds with the harness, runs in it by the sockets in its submission.toml, and
    `harness pack` writes the archive to upload.

    Args:
        submission: A folder with a Dockerfile.
        folder: Where the new one goes; its name is the new submission's.
        sockets: The algorithm's inputs, one per image channel, and its output.

    Returns:
        The names of the files that were added or changed.

    Raises:
        ConfigurationError: the name cannot be a submission's, or is taken.
        SubmissionError: the submission has no Dockerfile, or holds a file of the program's name.
    """
    if not submission.dockerfile.is_file():
        raise SubmissionError("the submission has no Dockerfile", where=submission.folder, mend="Add one.")
    program = submission.folder / PROGRAM
    if program.exists():
        raise SubmissionError(f"the submission has an {PROGRAM} of its own", where=program, mend="Rename it.")
    with new_folder(folder.name, folder.parent) as made:
        for entry in collect(submission.folder):
            _copy(entry.path, made / entry.name)
        ignored = submission.folder / ".dockerignore"
        if ignored.is_file():
            # What it leaves out may be everything that it does not name.
            patterns = ignored.read_text(encoding="utf-8").rstrip("\n")
            (made / ".dockerignore").write_text(f"{patterns}\n!{PROGRAM}\n", encoding="utf-8")
        text = submission.dockerfile.read_text(encoding="utf-8").rstrip("\n")
        (made / "Dockerfile").write_text(f"{text}\n\n{_lines(sockets)}", encoding="utf-8")
        (made / PROGRAM).write_text(program_text(), encoding="utf-8")
        (made / MANIFEST).write_text(
            manifest_text(submission.manifest, folder.name, sockets), encoding="utf-8"
        )
    return ["Dockerfile", PROGRAM, MANIFEST]


def program_text() -> str:
    """Return the program that runs in the image."""
    return (resources.files("harness.submission") / PROGRAM).read_text(encoding="utf-8")


def manifest_text(manifest: Manifest, name: str, sockets: Sockets) -> str:
    """Return a submission.toml with a new name and the algorithm's sockets."""
    stated = manifest.model_dump(mode="json", exclude_defaults=True, exclude={"name", "grand_challenge"})
    values = {
        "name": name,
        **stated,
        "grand_challenge": {
            "input": [_written(socket) for socket in sockets.input],
            "output": _written(sockets.output),
        },
    }
    return toml_text(values)


def _written(socket: Socket) -> str:
    return socket.slug if socket.slug == socket.folder else f"{socket.slug}={socket.folder}"


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir() and not source.is_symlink():
        target.mkdir(exist_ok=True)
    else:
        shutil.copy2(source, target, follow_symlinks=False)


def _lines(sockets: Sockets) -> str:
    """Return the Dockerfile's new end. Only /tmp and /output can be written, so /workspace has links."""
    words = ["python3", f"{_PLACE}/{PROGRAM}"]
    for socket in sockets.input:
        words += ["--input", socket.relative_path]
    words += ["--output", sockets.output.relative_path, "--work", _WORK, "--", "/bin/sh", "predict.sh"]
    return "\n".join(
        (
            "# An algorithm of grand-challenge.org: /input/images/*/*.mha in, /output/images/*/*.mha out.",
            "USER 0",
            f"COPY {PROGRAM} {_PLACE}/{PROGRAM}",
            "RUN mkdir -p /workspace && rm -rf /workspace/inputs /workspace/outputs \\",
            f"    && ln -s {_WORK}/inputs /workspace/inputs && ln -s {_WORK}/outputs /workspace/outputs",
            "WORKDIR /workspace",
            "USER 65532:65532",
            f"ENTRYPOINT {json.dumps(words)}",
            "CMD []",
            "",
        )
    )
