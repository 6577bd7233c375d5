"""Each lint rule, as a function of what an image holds and how it is judged."""

import io
import tarfile
import tempfile
from dataclasses import replace

import pytest
from archives import config_of, docker_files, files_tar, member, tar

from harness.submission.archive import read_image
from harness.submission.blobs import TarBlobs
from harness.submission.findings import Judge
from harness.submission.lint import findings, lint_archive, look_into
from harness.submission.rules import LARGE_BYTES
from harness.submission.tarstream import RefusedArchiveError

SH = member("bin/dash", content=b"\x7fELF", mode=0o755)
SYSTEM = (
    SH,
    member("bin/bash", content=b"\x7fELF", mode=0o755),
    member("bin/sh", tarfile.SYMTYPE, "dash"),
    member("workspace", tarfile.DIRTYPE, mode=0o755),
)
SETTINGS = {"User": "65532:65532", "WorkingDir": "/workspace", "Env": ["PATH=/bin", "LANG=C.UTF-8"]}
GOOD_SCRIPT = b"set -eu\npython predict.py\n"


def script(content=GOOD_SCRIPT, **fields):
    return member("workspace/predict.sh", content=content, **fields)


def contents(*entries, later=(), **settings):
    """Return what is found in an image of a small system, these entries, and those of a later layer."""
    layers = [tar(*SYSTEM, *entries), *([tar(*later)] if later else [])]
    config = config_of(*layers, architecture="amd64", config=SETTINGS | settings)
    with tempfile.TemporaryFile() as file:
        file.write(files_tar(docker_files(*layers, config=config)))
        file.flush()
        blobs = TarBlobs(file)
        return look_into(blobs, read_image(blobs))


def found(*entries, judge=None, later=(), **settings):
    return findings(contents(*entries, later=later, **settings), judge)


def rules(*entries, **options):
    return [(each.level, each.rule) for each in found(*entries, **options)]


def one(*entries, **options):
    """Return the message and the mend of the only finding."""
    (only,) = found(*entries, **options)
    return f"{only.message}. {only.mend}"


def test_a_good_image_has_no_findings():
    assert found(script()) == ()


def test_an_image_for_another_platform_is_an_error():
    image = replace(contents(script()), platform="linux/arm64")
    (only,) = findings(image)
    assert (only.level, only.rule) == ("error", "platform")
    assert "linux/arm64" in only.message and "--platform linux/amd64" in only.mend


def test_a_missing_script_is_an_error_that_says_where_another_one_is():
    assert "the image has no /workspace/predict.sh" in one()
    assert "there is /opt/app/predict.sh" in one(member("opt/app/predict.sh", content=b"x"))


def test_a_missing_shell_is_an_error():
    image = contents(script())
    del image.tree.find("/bin")[1].inside["bash"]
    assert [(each.rule, each.message) for each in findings(image)] == [
        ("missing", "the image has no /bin/bash")
    ]


def test_a_script_that_only_its_owner_reads_is_an_error():
    assert "/workspace/predict.sh (mode 700, owner 0)" in one(script(mode=0o700))
    assert "chmod -R a+rX /workspace/predict.sh," in one(script(mode=0o700))
    assert rules(script(mode=0o700), judge=Judge(requires_root=True)) == []
    assert rules(script(mode=0o700, uid=65532)) == []


def test_a_script_in_a_closed_folder_is_an_error():
    closed = member("workspace", tarfile.DIRTYPE, mode=0o700)
    assert "/workspace (mode 700, owner 0)" in one(script(), closed)


def test_a_folder_called_predict_sh_is_an_error():
    assert "is a folder" in one(member("workspace/predict.sh", tarfile.DIRTYPE))


@pytest.mark.parametrize("target", ["/opt/none.sh", "../workspace/inputs/predict.sh"])
def test_a_link_that_leads_nowhere_in_a_container_is_an_error(target):
    inputs = member("workspace/inputs/predict.sh", content=b"x")
    assert "is a link to" in one(inputs, member("workspace/predict.sh", tarfile.SYMTYPE, target))


def test_a_link_to_a_script_is_followed_and_remarked():
    real = member("opt/real.sh", content=GOOD_SCRIPT)
    link = member("workspace/predict.sh", tarfile.SYMTYPE, "../opt/real.sh")
    assert rules(real, link) == [("warning", "entry")]


def test_an_empty_script_is_an_error():
    assert "is empty" in one(script(b""))


def test_a_script_of_comments_is_an_error():
    assert "comments and nothing else" in one(script(b"# Copyright\n\n  # python predict.py\n"))
    # A license of kilobytes before the first command: no more is known than its beginning.
    assert found(script(b"# Copyright\n" * 20_000 + GOOD_SCRIPT)) == ()


@pytest.mark.parametrize("name", ["Predict.sh", "predict.sh.txt", "PREDICT.SH"])
def test_a_script_of_nearly_that_name_is_pointed_at(name):
    assert f"there is /workspace/{name}" in one(member(f"workspace/{name}", content=GOOD_SCRIPT))


def test_a_script_that_a_later_layer_deletes_is_missing():
    assert "has no /workspace/predict.sh" in one(script(), later=[member("workspace/.wh.predict.sh")])


def test_windows_line_ends_are_an_error():
    assert "CRLF" in one(script(GOOD_SCRIPT.replace(b"\n", b"\r\n")))
    assert "CRLF" in one(script(), member("workspace/run.sh", content=b"a\r\nb\r\n"))


def test_a_byte_order_mark_is_an_error():
    assert "byte order mark (BOM)" in one(script(b"\xef\xbb\xbf" + GOOD_SCRIPT))
    assert "UTF-16" in one(script("set -e\n".encode("utf-16")))
    for encoding in ("utf-16-le", "utf-16-be", "utf-32-le"):
        assert "zero bytes" in one(script("set -e\n".encode(encoding)))


@pytest.mark.parametrize(
    ("first", "level"),
    [(b"#!/bin/bash", "warning"), (b"#!/usr/bin/env python3", "error"), (b"#!/bin/sh", None)],
)
def test_an_interpreter_that_sh_ignores_is_said(first, level):
    assert rules(script(first + b"\nset -eu\n")) == ([(level, "interpreter")] if level else [])


@pytest.mark.parametrize(
    ("text", "level"),
    [(b"files=(a b)\n", "error"), (b"[[ -f x ]] && echo\n", "warning"), (b"[ -f x ] && echo\n", None)],
)
def test_words_of_bash_under_sh_are_said_with_their_line(text, level):
    assert rules(script(text)) == ([(level, "bash")] if level else [])
    if level:
        assert "(line 1)" in one(script(text))


def test_words_of_bash_are_fine_where_bash_reads_them():
    text = b"files=(a b)\n"
    assert rules(script(text), judge=Judge(command=("/bin/bash", "-c", "bash predict.sh"))) == []
    assert rules(script(text), member("bin/sh", tarfile.SYMTYPE, "bash")) == []


def test_a_choice_of_gpu_is_a_warning_wherever_it_is():
    assert "predict.sh: CUDA_VISIBLE_DEVICES=1 (line 1)" in one(script(b"export CUDA_VISIBLE_DEVICES=1\n"))
    in_python = member("workspace/predict.py", content=b'os.environ["CUDA_VISIBLE_DEVICES"] = "2"\n')
    assert "predict.py: CUDA_VISIBLE_DEVICES=2 (line 1)" in one(script(), in_python)
    assert "CUDA_VISIBLE_DEVICES=3" in one(script(), Env=["CUDA_VISIBLE_DEVICES=3"])
    assert rules(script(b"export CUDA_VISIBLE_DEVICES=0\n"), Env=["CUDA_VISIBLE_DEVICES=0"]) == []


def test_a_driver_that_the_image_does_not_start_on_is_an_error():
    image = {"Env": ["NVIDIA_REQUIRE_CUDA=cuda>=12.4"]}
    assert rules(script(), **image) == [("warning", "driver")]
    assert rules(script(), judge=Judge(driver="550.54.14"), **image) == []
    text = one(script(), judge=Judge(driver="535.104.05"), **image)
    assert "the judge's driver 535.104.05 has CUDA 12.2" in text
    assert rules(script(), Env=["NVIDIA_REQUIRE_CUDA=cuda>=12.4", "NVIDIA_DISABLE_REQUIRE=1"]) == []


def test_a_download_in_a_script_is_a_warning():
    assert "wget (line 1)" in one(script(b"wget https://x/w.pth\n"))
    assert rules(script(), member("usr/lib/python3/x.py", content=b"urlopen(x)")) == []


ROOT_HOME = member("root", tarfile.DIRTYPE, mode=0o700)


def test_weights_that_an_ordinary_user_cannot_read_are_an_error():
    weights = member("root/.cache/torch/hub/checkpoints/net.pth", content=b"1")
    text = one(script(), ROOT_HOME, weights)
    assert "net.pth" in text and "/root (mode 700, owner 0)" in text
    assert "COPY them to /workspace, or RUN chmod -R a+rX /root." in text
    assert rules(script(), member("opt/net.onnx", content=b"1", mode=0o600)) == [("error", "weights")]
    assert rules(script(), ROOT_HOME, weights, judge=Judge(requires_root=True)) == []
    assert rules(script(), member("opt/net.onnx", content=b"1")) == []
    assert rules(script(), weights, later=[member("root", tarfile.DIRTYPE, mode=0o755)]) == []


def test_pointers_of_git_lfs_are_an_error():
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 123456789\n"
    text = one(script(), member("workspace/net.pth", content=pointer))
    assert "Git LFS pointers" in text and "git lfs pull" in text


@pytest.mark.parametrize("user", ["", "root", "0", "0:0", "00"])
def test_a_user_that_is_root_is_a_warning(user):
    assert rules(script(), User=user) == [("warning", "user")]
    assert rules(script(), User=user, judge=Judge(requires_root=True)) == []


def test_another_user_matters_where_the_working_folder_is_theirs():
    own = member("workspace", tarfile.DIRTYPE, mode=0o755, uid=1000)
    assert "it will be run as 65532, who cannot write /workspace" in one(script(), own, User="1000")
    assert rules(script(), User="1000") == []


@pytest.mark.parametrize(
    ("entrypoint", "expected"),
    [
        (["/bin/sh", "-c", "python run.py"], "error"),
        (["/bin/sh", "-c", 'exec "$@"', "--"], None),
        (["/bin/bash"], "error"),
        (["python", "run.py"], "error"),
        (["tini", "--"], None),
        (["/usr/bin/dumb-init", "--"], None),
        (["tini", "--", "/run"], "warning"),
        (["conda", "run", "-n", "x"], None),
        (["/opt/nvidia/nvidia_entrypoint.sh"], None),
        (["/opt/passes.sh"], None),
        (["/opt/eats.sh"], "error"),
        (["sh", "/opt/eats.sh"], "error"),
        (["/opt/program"], "warning"),
    ],
)
def test_an_entrypoint_that_eats_the_command_is_an_error(entrypoint, expected):
    scripts = (
        member("opt/passes.sh", content=b'#!/bin/sh\nsetup\nexec "$@"\n'),
        member("opt/eats.sh", content=b"#!/bin/sh\npython run.py\n"),
        member("opt/program", content=b"\x7fELF"),
    )
    assert rules(script(), *scripts, Entrypoint=entrypoint) == (
        [(expected, "entrypoint")] if expected else []
    )
    assert rules(script(), *scripts, Entrypoint=entrypoint, judge=Judge(command=None)) == []


def test_a_health_check_is_a_warning_unless_it_is_none():
    assert rules(script(), Healthcheck={"Test": ["CMD-SHELL", "curl x"]}) == [("warning", "healthcheck")]
    assert rules(script(), Healthcheck={"Test": ["NONE"]}) == []


def test_a_volume_is_a_warning_that_says_what_lies_below_it():
    assert "scratch within the memory limit" in one(script(), Volumes={"/data": {}})
    assert "with /workspace/predict.sh below it" in one(script(), Volumes={"/workspace": {}})
    assert "with /w/net.pth below it" in one(script(), member("w/net.pth", content=b"1"), Volumes={"/w/": {}})
    assert rules(script(), Volumes={"/data": {}}) == [("warning", "volume")]


@pytest.mark.parametrize("volume", ["data", "/proc", "/proc/sys", "/sys/fs", "/dev"])
def test_a_volume_that_no_engine_can_mount_is_an_error(volume):
    assert rules(script(), Volumes={volume: {}}) == [("error", "start"), ("warning", "volume")]


@pytest.mark.parametrize(
    ("name", "level"), [("LD_PRELOAD", "error"), ("LD_AUDIT", "error"), ("LD_LIBRARY_PATH", "warning")]
)
def test_variables_of_the_loader_are_said(name, level):
    assert rules(script(), Env=[f"{name}=/x"]) == [(level, "loader")]


@pytest.mark.parametrize(
    ("entries", "settings"),
    [
        ([], {"WorkingDir": "/bin/bash"}),
        ([member("workspace/inputs", content=b"x")], {}),
        ([member("workspace/outputs", tarfile.SYMTYPE, "../bin/bash")], {}),
        ([], {"Env": ["=x"]}),
    ],
)
def test_what_no_engine_can_start_is_an_error(entries, settings):
    assert ("error", "start") in rules(script(), *entries, **settings)


@pytest.mark.parametrize(
    "path",
    [
        "workspace/labelsTr/case_1.nii.gz",
        "data/labels/a.nii",
        "gt/a.nii.gz",
        "workspace/a_gt.nii.gz",
        "workspace/ground_truth/a.mha",
        "opt/groundtruth.nrrd",
        "workspace/Labels/A.NII.GZ",
        "data/masks/a.npz",
        "x/segmentation_mask.nii.gz",
    ],
)
def test_files_that_look_like_labels_are_an_error_in_any_layer(path):
    folder, _, name = path.rpartition("/")
    deleted = [member(f"{folder}/.wh.{name}")]
    assert rules(script(), member(path, content=b"1"), later=deleted) == [("error", "labels")]


@pytest.mark.parametrize(
    "path", ["workspace/atlas.nii.gz", "workspace/example_0000.nii.gz", "x/length/a.nii"]
)
def test_other_volumes_are_a_warning(path):
    assert rules(script(), member(path, content=b"1")) == [("warning", "images")]


def test_many_files_are_counted_and_a_few_are_named():
    (only,) = findings(replace(contents(script()), volumes=tuple(f"labels/{n}.nii" for n in range(9))))
    assert "9 file(s)" in only.message
    assert only.message.endswith("labels/0.nii, labels/1.nii, labels/2.nii and 6 more")


def test_a_large_image_is_a_warning():
    (only,) = findings(replace(contents(script()), size_bytes=LARGE_BYTES + 1))
    assert (only.level, only.rule) == ("warning", "size")


def test_every_finding_says_how_to_mend_it():
    image = contents(
        script(b"\xef\xbb\xbf#!/usr/bin/perl\r\nx=(1)\nwget x\nCUDA_VISIBLE_DEVICES=1 y\n", mode=0o600),
        ROOT_HOME,
        member("root/w.pth", content=b"version https://git-lfs.github.com/spec/v1\n"),
        member("labels/a.nii", content=b"1"),
        member("b.nii", content=b"1"),
        User="",
        Env=["LD_PRELOAD=x", "=y", "NVIDIA_REQUIRE_CUDA=cuda>=12.4"],
        Volumes={"/d": {}},
        Entrypoint=["a"],
        Healthcheck={"Test": ["CMD", "x"]},
    )
    worst = findings(replace(image, platform="linux/arm64", size_bytes=2 * LARGE_BYTES))
    assert {each.rule for each in worst} >= {
        "platform", "start", "unreadable", "encoding", "line-ends", "interpreter", "bash", "gpu",
        "download", "entrypoint", "user", "loader", "driver", "volume", "healthcheck", "weights",
        "lfs", "labels", "images", "size",
    }  # fmt: skip
    assert all(each.mend.endswith(".") and "\n" not in each.message for each in worst)


def test_an_archive_is_looked_over_without_an_engine(tmp_path):
    layer = tar(*SYSTEM, script(GOOD_SCRIPT.replace(b"\n", b"\r\n")))
    path = tmp_path / "team.tar"
    path.write_bytes(files_tar(docker_files(layer, config=config_of(layer, config=SETTINGS))))
    assert [each.rule for each in lint_archive(path)] == ["line-ends"]
    path.write_bytes(io.BytesIO(b"<html>").getvalue())
    with pytest.raises(RefusedArchiveError, match="HTML"):
        lint_archive(path)
