"""A build context depends on names and bytes, and on nothing else."""

import io
import os
import tarfile

import pytest

from harness.errors import SubmissionError
from harness.submission.context import collect, content_hash, write_tar


@pytest.fixture
def folder(tmp_path):
    """A submission's folder with what running it leaves behind."""
    root = tmp_path / "mine"
    for name, text in {
        "Dockerfile": "FROM a",
        "predict.sh": "true",
        "weights/w.bin": "1234",
        "__pycache__/x.pyc": "compiled",
        "deep/er/__pycache__/y.pyc": "compiled",
        "deep/er/code.py": "pass",
        ".cache/run/checkpoint": "large",
        "mine.egg-info/PKG-INFO": "generated",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def names(entries):
    return [entry.name for entry in entries]


def digest(folder, **more):
    return content_hash(collect(folder), **more)


def tar_of(folder):
    file = io.BytesIO()
    write_tar(collect(folder), file)
    return file.getvalue()


def test_what_running_leaves_behind_is_not_part_of_it(folder):
    found = names(collect(folder))
    assert found == [
        "Dockerfile",
        "deep",
        "deep/er",
        "deep/er/code.py",
        "predict.sh",
        "weights",
        "weights/w.bin",
    ]


def test_dockerignore_is_honoured_with_its_exceptions(folder):
    (folder / ".dockerignore").write_text("# comment\nweights\ndeep\n!deep/er/code.py\n")
    found = names(collect(folder))
    assert "weights/w.bin" not in found
    assert "deep/er/code.py" in found


def test_the_dockerfile_stays_even_when_it_is_ignored(folder):
    (folder / ".dockerignore").write_text("*\n")
    assert "Dockerfile" in names(collect(folder))


def test_extra_files_and_folders_join_under_their_names(folder, tmp_path):
    (tmp_path / "lib" / "sub").mkdir(parents=True)
    (tmp_path / "lib" / "sub" / "a.py").write_text("1")
    (tmp_path / "pins.txt").write_text("2")
    entries = collect(folder, {"kit": tmp_path / "lib", "constraints.txt": tmp_path / "pins.txt"})
    assert {"kit", "kit/sub", "kit/sub/a.py", "constraints.txt"} <= set(names(entries))


def test_the_hash_ignores_times_and_owners_but_no_byte(folder):
    before, tar_before = digest(folder), tar_of(folder)
    os.utime(folder / "predict.sh", (1, 1))
    assert (digest(folder), tar_of(folder)) == (before, tar_before)
    (folder / "weights" / "w.bin").write_text("1235")
    assert digest(folder) != before


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "predict.sh").chmod(0o755),
        lambda root: (root / "predict.sh").rename(root / "other.sh"),
        lambda root: (root / "empty").mkdir(),
        lambda root: (root / "link").symlink_to("predict.sh"),
        lambda root: (root / "weights" / "w.bin").unlink(),
    ],
    ids=["executable bit", "renamed", "new folder", "new link", "deleted"],
)
def test_every_kind_of_change_changes_the_hash(folder, change):
    before = digest(folder)
    change(folder)
    assert digest(folder) != before


def test_build_arguments_and_parents_are_part_of_the_hash(folder):
    hashes = {
        digest(folder, more=more) for more in ([], [{"A": "1"}], [{"A": "2"}], [{"A": "1"}, ["parent"]])
    }
    assert len(hashes) == 4


def test_the_tar_holds_root_owned_files_and_links_as_links(folder):
    (folder / "link").symlink_to("/etc/passwd")
    (folder / "predict.sh").chmod(0o750)
    os.link(folder / "predict.sh", folder / "twin.sh")
    with tarfile.open(fileobj=io.BytesIO(tar_of(folder))) as archive:
        members = {member.name: member for member in archive}
        assert members["link"].issym() and members["link"].linkname == "/etc/passwd"
        assert (members["predict.sh"].mode, members["predict.sh"].uid) == (0o755, 0)
        assert members["weights/w.bin"].mode == 0o644
        assert archive.extractfile(members["twin.sh"]).read() == b"true"


def test_a_pipe_in_the_folder_is_refused_by_name(folder):
    os.mkfifo(folder / "pipe")
    with pytest.raises(SubmissionError, match=r"neither a file, a folder nor a link.*pipe"):
        collect(folder)
