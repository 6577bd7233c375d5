"""`harness check ARCHIVE --static` needs neither an engine nor data, and says each thing on one line."""

import json
import tarfile

import pytest
from archives import config_of, docker_files, files_tar, member, tar, unpack

from harness.challenge import load_challenge
from harness.cli import app as application
from harness.cli.preflight import judge_of, show, static
from harness.submission.findings import Finding

SYSTEM = (
    member("bin/bash", content=b"x", mode=0o755),
    member("bin/sh", content=b"x", mode=0o755),
)


@pytest.fixture(autouse=True)
def nowhere(monkeypatch, tmp_path):
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    monkeypatch.setenv("FLAREHARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def archive(tmp_path):
    def write(script, **settings):
        layer = tar(*SYSTEM, member("workspace/predict.sh", content=script))
        config = {"User": "65532", "WorkingDir": "/workspace"} | settings
        path = tmp_path / "team.tar"
        path.write_bytes(files_tar(docker_files(layer, config=config_of(layer, config=config))))
        return path

    return write


def check(*arguments):
    """Return the exit code of `harness check`."""
    return application.run(["check", *map(str, arguments)])


@pytest.mark.parametrize("words", [["{}"], ["--image", "{}"]])
def test_a_good_archive_passes_and_prints_nothing(archive, capsys, words):
    path = archive(b"set -eu\n")
    assert check(*(word.format(path) for word in words), "--static") == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "nothing in this archive would stop it" in printed.err


def test_an_unpacked_archive_is_known_by_what_is_in_it(archive, tmp_path):
    with tarfile.open(archive(b"set -eu\n")) as packed:
        unpack(packed, tmp_path / "layout")
    assert check("layout", "--static") == 0


def test_each_finding_is_one_line_with_its_mend(archive, capsys):
    assert check(archive(b"[[ a ]]\r\n", User=""), "--static") == 1
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert "would not be accepted: 1 error(s). Change first: Convert with sed" in printed.err
    assert [line.split(":")[0] for line in lines] == ["error line-ends", "warning bash", "warning user"]
    assert all(line.endswith(".") for line in lines)


def test_warnings_alone_pass(archive):
    assert check(archive(b"set -eu\n", User=""), "--static") == 0


def test_the_judges_driver_can_be_named(archive, capsys):
    path = archive(b"set -eu\n", Env=["NVIDIA_REQUIRE_CUDA=cuda>=12.4"])
    assert check(path, "--static", "--driver", "535.104.05") == 1
    assert "error driver:" in capsys.readouterr().out
    assert check(path, "--static", "--driver", "550.54") == 0
    assert check(path, "--static", "--driver", "new") == 2


def test_a_challenge_with_another_command_asks_for_another_script(archive, capsys):
    rules = load_challenge("phantom")
    contract = rules.contract.model_copy(update={"command": ("/bin/bash", "-c", "bash run.sh")})
    judge = judge_of(rules.model_copy(update={"contract": contract}), requires_root=False, driver=None)
    (mend,) = static(str(archive(b"set -eu\n")), judge)
    assert mend.startswith("COPY it to /workspace")
    assert "the image has no /workspace/run.sh" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "content", "code", "words"),
    [
        ("page.tar", b"<!DOCTYPE html>", 1, "an HTML page"),
        ("empty.tar.gz", b"", 1, "empty (0 bytes)"),
        ("none.tar", None, 2, "there is no such image archive"),
        ("small_unet", None, 2, "--static looks into an image archive"),
    ],
)
def test_what_is_no_archive_is_one_line_and_a_code(tmp_path, capsys, name, content, code, words):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert (
        check(tmp_path / name if content is not None or name.endswith(".tar") else name, "--static") == code
    )
    error = capsys.readouterr().err
    assert words in error and "Traceback" not in error
    assert len([line for line in error.splitlines() if words in line]) == 1


def test_nothing_from_an_image_can_steer_a_terminal(capsys):
    """Messages and mends hold names that the image's author chose."""
    show([Finding("error", "loader", "sets LD_\x1b]0;title\x07", "Remove ENV LD_\x1b[2J\n\x9b31m.")])
    out = capsys.readouterr().out
    assert not {"\x1b", "\x07", "\x9b"} & set(out)
    assert out.count("\n") == 1


def test_json_stands_alone_on_stdout(archive, capsys):
    assert check(archive(b"[[ a ]]\r\n", User=""), "--static", "--json") == 1
    printed = capsys.readouterr()
    told = json.loads(printed.out)
    assert told["accepted"] is False
    assert told["image_errors"][0].startswith("Convert with sed")
    assert "error line-ends" in printed.err
