"""submission.toml is read strictly, and what is wrong with it is named."""

import pytest

from harness.errors import SubmissionError
from harness.submission.manifest import Manifest, read_manifest

FULL = """
name = "small_unet"
title = "Small U-Net"
authors = ["A", "B"]
paper = "https://example.org/paper"
device = "cuda"
requires_root = true
writable_root = true
build_network = true

[limits]
memory_gb = 8
cpus = 2
time_s = 600
gpu_memory_gb = 4

[build_args]
TASK = "organs_tumour"
SHARED = "1"

[challenge."flare24-task1".build_args]
TASK = "tumour"
"""


def write(folder, text):
    path = folder / "submission.toml"
    path.write_text(text)
    return path


def test_every_field_is_read(tmp_path):
    manifest = read_manifest(write(tmp_path, FULL))
    assert (manifest.name, manifest.title, manifest.authors) == ("small_unet", "Small U-Net", ("A", "B"))
    assert (manifest.device, manifest.limits.memory_gb, manifest.limits.time_s) == ("cuda", 8, 600)
    assert manifest.requires_root and manifest.writable_root and manifest.build_network


def test_only_the_name_is_needed_and_opt_outs_are_off(tmp_path):
    manifest = read_manifest(write(tmp_path, 'name = "mine"'))
    assert manifest == Manifest(name="mine")
    assert not (manifest.requires_root or manifest.writable_root or manifest.build_network)


@pytest.mark.parametrize(
    ("challenge", "expected"),
    [
        ("phantom", {"TASK": "organs_tumour", "SHARED": "1"}),
        ("flare24-task1", {"TASK": "tumour", "SHARED": "1"}),
    ],
)
def test_a_challenges_build_arguments_override_the_common_ones(tmp_path, challenge, expected):
    assert read_manifest(write(tmp_path, FULL)).build_args_for(challenge) == expected


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("name = ", "not TOML"),
        ("title = 'no name'", "name"),
        (f"name = 'a'\ntitle = '{'x' * 5_000_000}'", "title"),
        ('name = "Upper"', "name"),
        ('name = "../escape"', "name"),
        ('name = "a b"', "name"),
        ('name = "mine"\ncolour = "red"', "colour"),
        ('name = "mine"\ndevice = "tpu"', "device"),
        ('name = "mine"\n[limits]\nmemory_gb = -1', "limits.memory_gb"),
        ('name = "mine"\n[limits]\nmemory = 1', "limits.memory"),
        ('name = "mine"\n[build_args]\nTASK = 1', "build_args.TASK"),
        ('name = "mine"\n[challenge.x]\nargs = 1', "challenge.x.args"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, named):
    with pytest.raises(SubmissionError) as raised:
        read_manifest(write(tmp_path, text))
    assert named in raised.value.one_line()
    assert str(tmp_path) in raised.value.where


def test_bytes_that_are_no_text_are_one_clear_error(tmp_path):
    path = tmp_path / "submission.toml"
    path.write_bytes(b'name = "\xff\xfe"')
    with pytest.raises(SubmissionError, match=r"submission\.toml is not TOML"):
        read_manifest(path)


def test_a_missing_file_says_what_to_add(tmp_path):
    with pytest.raises(SubmissionError, match=r"no submission\.toml .* name = "):
        read_manifest(tmp_path / "submission.toml")


def test_a_byte_order_mark_and_windows_line_ends_are_no_part_of_a_manifest(tmp_path):
    path = tmp_path / "submission.toml"
    path.write_bytes(b'\xef\xbb\xbfname = "mine"\r\ntitle = "Mine"\r\n')
    assert read_manifest(path).name == "mine"
