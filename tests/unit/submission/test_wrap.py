"""`harness new --grand-challenge`: a submission's folder as an algorithm's."""

from __future__ import annotations

import json
import tomllib

import pytest

from harness.cli.app import run
from harness.submission.find import open_submission
from harness.submission.manifest import read_manifest


@pytest.fixture
def submissions(tmp_path):
    folder = tmp_path / "submissions" / "mine"
    (folder / "weights").mkdir(parents=True)
    (folder / "predict.sh").write_text("exec python3 predict.py\n")
    (folder / "predict.sh").chmod(0o755)
    (folder / "weights" / "model.bin").write_bytes(b"\0\1")
    (folder / "secret.txt").write_text("not in the image")
    (folder / ".dockerignore").write_text("secret.txt\n")
    (folder / "Dockerfile").write_text("FROM flareharness/runtime:cpu\nCOPY . ./")
    (folder / "submission.toml").write_text(
        'name = "mine"\ntitle = "A \\"title\\""\nauthors = ["A. Author"]\ndevice = "cuda"\n'
        '[limits]\nmemory_gb = 8\n[build_args]\nTASK = "organs"\n'
        '[challenge."flare24-task1".build_args]\nTASK = "tumour"\n'
    )
    return tmp_path / "submissions"


def new(submissions, *more):
    return run(["new", "mine-gc", "--grand-challenge", "mine", "--submissions", str(submissions), *more])


SOCKETS = ("--input-socket", "ct-image=ct", "--output-socket", "organs")


def test_the_new_folder_is_a_submission_with_the_algorithms_entrypoint(submissions):
    assert new(submissions, *SOCKETS) == 0
    wrapped = open_submission(submissions / "mine-gc")
    original = read_manifest(submissions / "mine" / "submission.toml")
    sockets = wrapped.manifest.grand_challenge
    assert sockets is not None
    assert [socket.relative_path for socket in sockets.input] == ["images/ct"]
    assert sockets.output.slug == sockets.output.folder == "organs"
    assert wrapped.manifest.model_copy(update={"name": "mine", "grand_challenge": None}) == original
    lines = wrapped.dockerfile.read_text().splitlines()
    assert lines[1] == "COPY . ./"
    entrypoint = next(line for line in lines if line.startswith("ENTRYPOINT"))
    words = json.loads(entrypoint.removeprefix("ENTRYPOINT "))
    assert words[words.index("--input") + 1] == "images/ct"
    assert words[words.index("--output") + 1] == "images/organs"
    assert lines[lines.index(entrypoint) - 1] == "USER 65532:65532", "the platform refuses root"
    assert (submissions / "mine-gc" / "algorithm.py").is_file()
    assert (submissions / "mine-gc" / "weights" / "model.bin").read_bytes() == b"\0\1"
    assert not (submissions / "mine-gc" / "secret.txt").exists()
    assert "!algorithm.py" in (submissions / "mine-gc" / ".dockerignore").read_text().splitlines()
    tomllib.loads((submissions / "mine-gc" / "submission.toml").read_text())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "sockets are not named"),
        (("--input-socket", "ct"), "not clear"),
        (("--input-socket", "../ct", "--output-socket", "organs"), "not clear"),
    ],
)
def test_sockets_must_be_named(submissions, arguments, said, capsys):
    assert new(submissions, *arguments) == 2
    assert said in capsys.readouterr().err


def test_nothing_is_overwritten(submissions, capsys):
    assert new(submissions, *SOCKETS) == 0
    assert new(submissions, *SOCKETS) == 2
    assert "there is a submission of that name" in capsys.readouterr().err


def test_a_name_must_be_one(submissions, capsys):
    arguments = ["new", "../Mine", "--grand-challenge", "mine", "--submissions", str(submissions), *SOCKETS]
    assert run(arguments) == 2
    assert "no name of a submission" in capsys.readouterr().err
