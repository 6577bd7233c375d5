"""The layers of an image are laid over each other as an engine lays them."""

import pytest

from harness.submission import contents
from harness.submission.contents import ImageTree, is_in_library, is_weights
from harness.submission.tarstream import Member


def tree_of(*layers):
    """Lay layers over each other: each a dict of path -> (kind, more fields)."""
    tree = ImageTree()
    for number, entries in enumerate(layers):
        for name, about in entries.items():
            kind, fields = about if isinstance(about, tuple) else (about, {})
            body = fields.pop("body", b"")
            defaults = {"size": len(body), "target": "", "mode": 0o755 if kind == "folder" else 0o644}
            member = Member(name=name, kind=kind, offset=0, **(defaults | fields))
            tree.see(number, member, lambda size, body=body: body[:size])
    return tree


def link(target):
    return "symlink", {"target": target}


def kinds(tree, *paths):
    return [None if (node := tree.find(path)[1]) is None else node.kind for path in paths]


def test_later_layers_add_and_replace():
    tree = tree_of({"a/b": "file", "a/c": "file"}, {"a/c": "folder", "a/d": "file"})
    assert kinds(tree, "/a", "/a/b", "/a/c", "/a/d", "/a/e") == ["folder", "file", "folder", "file", None]


def test_a_folder_named_again_keeps_what_is_in_it_and_takes_the_mode():
    tree = tree_of({"root": "folder", "root/w.pth": "file"}, {"root": ("folder", {"mode": 0o700})})
    assert kinds(tree, "/root/w.pth") == ["file"]
    assert tree.closed_to("/root/w.pth", 65532, 65532) == "/root (mode 700, owner 0)"


def test_whiteouts_take_away_what_lower_layers_hold_and_nothing_of_their_own():
    tree = tree_of(
        {"a/old": "file", "b/old": "file", "c/deep/old": "file"},
        {"a/.wh.old": "file", "b/new": "file", "b/.wh..wh..opq": "file", ".wh.c": "file"},
    )
    assert kinds(tree, "/a", "/a/old", "/b/old", "/b/new", "/c") == ["folder", None, None, "file", None]


def test_links_are_followed_inside_the_image():
    tree = tree_of(
        {
            "usr/bin/sh": "file",
            "bin": link("usr/bin"),
            "opt/x": link("../bin/sh"),
            "opt/absolute": link("/bin/sh"),
            "opt/up": link("../../../../bin/sh"),
            "opt/loop": link("loop"),
            "opt/nowhere": link("/none/such"),
        }
    )
    for path in ("/bin/sh", "/opt/x", "/opt/absolute", "/opt/up"):
        assert tree.find(path)[0] == "/usr/bin/sh"
    assert kinds(tree, "/opt/loop", "/opt/nowhere") == [None, None]
    assert tree.find("/opt/nowhere")[0] == "/none/such"
    assert tree.find("/opt/x", follow=False)[1].kind == "symlink"


def test_entries_below_a_link_land_where_it_points():
    tree = tree_of({"usr/bin": "folder", "bin": link("usr/bin")}, {"bin/sh": "file"})
    assert tree.find("/usr/bin/sh")[1].kind == "file"


def test_a_hard_link_is_the_file_that_it_names():
    tree = tree_of(
        {"a.sh": ("file", {"body": b"echo", "mode": 0o600}), "b.sh": ("hardlink", {"target": "a.sh"})}
    )
    found = tree.find("/b.sh")[1]
    assert (found.head, found.mode) == (b"echo", 0o600)


@pytest.mark.parametrize(
    ("folder", "file", "closed"),
    [
        ({"mode": 0o755}, {"mode": 0o644}, None),
        ({"mode": 0o711}, {"mode": 0o644}, None),
        ({"mode": 0o700}, {"mode": 0o644}, "/w (mode 700, owner 0)"),
        ({"mode": 0o700, "uid": 65532}, {"mode": 0o644}, None),
        ({"mode": 0o750, "gid": 65532}, {"mode": 0o640, "gid": 65532}, None),
        ({"mode": 0o755}, {"mode": 0o600}, "/w/a.pth (mode 600, owner 0)"),
        ({"mode": 0o755}, {"mode": 0o600, "uid": 65532}, None),
        ({"mode": 0o755}, {"mode": 0o044, "uid": 65532}, "/w/a.pth (mode 44, owner 65532)"),
    ],
)
def test_who_may_read_a_file_is_decided_on_the_whole_way_to_it(folder, file, closed):
    tree = tree_of({"w": ("folder", folder), "w/a.pth": ("file", file)})
    assert tree.closed_to("/w/a.pth", 65532, 65532) == closed
    assert tree.closed_to("/w/a.pth", 0, 0) is None


def test_scripts_are_kept_and_other_files_are_not():
    tree = tree_of(
        {
            "workspace/predict.sh": ("file", {"body": b"echo"}),
            "workspace/data.csv": ("file", {"body": b"1,2"}),
            "usr/lib/python3/x.py": ("file", {"body": b"pass"}),
            "workspace/w.pth": ("file", {"body": b"version https://git-lfs"}),
        }
    )
    assert {path: node.head for path, node in tree.files() if node.head} == {
        "/workspace/predict.sh": b"echo",
        "/workspace/w.pth": b"version https://git-lfs",
    }


def test_a_script_of_gigabytes_is_kept_in_part(monkeypatch):
    monkeypatch.setattr(contents, "SCRIPT_BYTES", 10)
    tree = tree_of({"a.sh": ("file", {"body": b"x" * 100})})
    assert tree.find("/a.sh")[1].head == b"x" * 10


def test_a_stranger_does_not_decide_how_much_is_remembered(monkeypatch):
    monkeypatch.setattr(contents, "MOST_ENTRIES", 5)
    tree = tree_of({f"f{number}": "file" for number in range(10)})
    assert not tree.is_complete
    assert len(list(tree.files())) == 5


@pytest.mark.parametrize(
    ("path", "size", "expected"),
    [
        ("/workspace/model.pth", 5, True),
        ("/workspace/nnUNet/fold_0/checkpoint_final.pth", 5, True),
        ("/root/.cache/torch/hub/checkpoints/resnet.pt", 5, True),
        ("/opt/model.onnx", 5, True),
        ("/opt/net.bin", 5 << 20, True),
        ("/opt/net.bin", 5, False),
        ("/workspace/predict.py", 5 << 20, False),
        ("/opt/venv/lib/python3.11/site-packages/torch/x.pt", 5 << 20, False),
        ("/opt/conda/lib/libx.bin", 5 << 20, False),
        ("/usr/share/x.bin", 5 << 20, False),
        ("/usr/src/app/model.pth", 5, True),
        ("/usr/local/app/model.pth", 5, True),
    ],
)
def test_weights_are_known_by_name_and_size(path, size, expected):
    assert is_weights(path, size) is expected


@pytest.mark.parametrize(
    "path", ["/usr/lib/x.py", "/opt/conda/pkgs/x/y.py", "/lib/x", "/a/dist-packages/b.py"]
)
def test_libraries_are_known_by_their_place(path):
    assert is_in_library(path)
