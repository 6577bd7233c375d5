"""What a container of an image will find: its layers laid over each other, as a tree in memory.

Only names, modes, owners and the first bytes of a few files are kept. Links are followed as in the container,
never on the host.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from harness.submission.tarstream import Kind, Member

MOST_ENTRIES = 500_000
"""More of them are not remembered: a stranger's archive decides how many there are."""

SCRIPT_BYTES = 256 << 10
HEAD_BYTES = 256
_MOST_SCRIPT_BYTES = 16 << 20
_MOST_LINKS = 40
_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_SCRIPT = re.compile(r"\.(sh|bash|py)$")
_LIBRARY = re.compile(
    r"(^|/)(site|dist)-packages/|(^|/)lib/python[\d.]+/|^(proc|sys|boot|lib|lib64|sbin|bin)/"
    r"|^usr/(?!src/|local/)|^usr/local/(lib|lib64|share|include|cuda[^/]*|man)/"
    r"|(^|/)(ana|mini|micro|mamba)?(conda|mamba|forge)\d?/(pkgs|(envs/[^/]+/)?(lib|share|include|etc|ssl))/"
)


@dataclass(slots=True)
class Node:
    """A file, folder or link of an image.

    Attributes:
        layer: Which layer it is from, the lowest is 0.
        head: The first bytes of a file that a rule may want to read; a script's up to `SCRIPT_BYTES`.
        inside: What a folder holds.
    """

    kind: Kind
    mode: int
    uid: int = 0
    gid: int = 0
    size: int = 0
    target: str = ""
    layer: int = 0
    head: bytes = b""
    inside: dict[str, Node] = field(default_factory=dict)


def _folder(mode: int = 0o755, layer: int = 0) -> Node:
    return Node("folder", mode, layer=layer)


class ImageTree:
    """The merged layers. `see` takes their entries in order, lowest layer first."""

    def __init__(self) -> None:
        self.root = _folder()
        self.is_complete = True
        self._count = 0
        self._script_bytes = 0

    def see(self, layer: int, member: Member, first: Callable[[int], bytes]) -> None:
        """Take one entry, under its safe name.

        Args:
            layer: The number of its layer.
            member: The entry.
            first: Gives a file's first bytes.
        """
        folder, _, last = member.name.rpartition("/")
        if not last:
            self.root.mode, self.root.uid, self.root.gid = member.mode, member.uid, member.gid
            return
        if last.startswith(_WHITEOUT):
            self._white_out(folder, last, layer)
            return
        self._count += 1
        if self._count > MOST_ENTRIES:
            self.is_complete = False
            return
        above = self._made(folder, layer)
        node = Node(member.kind, member.mode, member.uid, member.gid, member.size, member.target, layer)
        if member.kind == "hardlink":
            node = self.find(f"/{member.target}", follow=False)[1] or node
        if member.kind == "file":
            node.head = self._head(member, first)
        there = above.inside.get(last)
        if there is not None and there.kind == node.kind == "folder":
            node.inside = there.inside
        above.inside[last] = node

    def find(self, path: str, *, follow: bool = True) -> tuple[str, Node | None]:
        """Return the real path that a path leads to in the container, and what is there, or None.

        Args:
            path: Absolute.
            follow: Whether a link at its end is followed, too.
        """
        left = [part for part in reversed(path.split("/")) if part not in ("", ".")]
        here: list[tuple[str, Node]] = [("", self.root)]
        links = 0
        while left:
            part = left.pop()
            if part == "..":
                here = here[:-1] or here[:1]
                continue
            node = here[-1][1].inside.get(part)
            if node is None:
                rest = "/".join([part, *reversed(left)])
                return f"{_joined(here)}/{rest}", None
            if node.kind == "symlink" and (left or follow):
                links += 1
                if links > _MOST_LINKS:
                    return path, None
                if node.target.startswith("/"):
                    here = here[:1]
                left += [step for step in reversed(node.target.split("/")) if step not in ("", ".")]
                continue
            here.append((part, node))
        return _joined(here) or "/", here[-1][1]

    def closed_to(self, path: str, uid: int, gid: int) -> str | None:
        """Return the first folder on the way to a file, or the file, that a user cannot enter or read."""
        real, _ = self.find(path)
        at, node = "", self.root
        parts = [part for part in real.split("/") if part]
        for number in range(len(parts) + 1):
            needed = 0o1 if number < len(parts) else 0o4
            if not _permits(node, uid, gid, needed):
                return f"{at or '/'} (mode {node.mode:o}, owner {node.uid})"
            if number < len(parts):
                below = node.inside.get(parts[number])
                if below is None:
                    return None
                at, node = f"{at}/{parts[number]}", below
        return None

    def files(self, under: str = "/") -> Iterator[tuple[str, Node]]:
        """Yield every file with its absolute path, sorted by it; links are not followed."""
        real, start = self.find(under)
        if start is None:
            return
        waiting = [(real.rstrip("/"), start)]
        while waiting:
            path, node = waiting.pop()
            if node.kind == "file":
                yield path, node
            waiting += [(f"{path}/{name}", node.inside[name]) for name in sorted(node.inside, reverse=True)]

    def _made(self, folder: str, layer: int) -> Node:
        """Return a folder, made as an engine makes one that no layer names."""
        real, node = self.find(f"/{folder}")
        if node is not None and node.kind == "folder":
            return node
        node = self.root
        for part in real.split("/"):
            if part:
                below = node.inside.get(part)
                if below is None or below.kind != "folder":
                    below = node.inside[part] = _folder(layer=layer)
                node = below
        return node

    def _white_out(self, folder: str, last: str, layer: int) -> None:
        _, above = self.find(f"/{folder}")
        if above is None:
            return
        names = list(above.inside) if last == _OPAQUE else [last.removeprefix(_WHITEOUT)]
        for name in names:
            node = above.inside.get(name)
            if node is not None and _older(node, layer):
                del above.inside[name]

    def _head(self, member: Member, first: Callable[[int], bytes]) -> bytes:
        if _SCRIPT.search(member.name) and not _LIBRARY.search(member.name):
            wanted = min(member.size, SCRIPT_BYTES, _MOST_SCRIPT_BYTES - self._script_bytes)
            self._script_bytes += max(0, wanted)
            return first(wanted)[:wanted] if wanted > 0 else b""
        if member.size < 1024:  # a Git LFS pointer is a short text
            return first(HEAD_BYTES)[:HEAD_BYTES] if is_weights(member.name) else b""
        return b""


_WEIGHTS = re.compile(
    r"\.(pth|pt|ptl|pth\.tar|onnx|ckpt|safetensors|h5|hdf5|keras|pb|tflite|engine|trt|plan|pdparams|pdiparams|"
    r"model|weights|bin|pkl|joblib|npz|xml)$",
    re.IGNORECASE,
)
_SURELY_WEIGHTS = re.compile(
    r"\.(pth|pt|ptl|pth\.tar|onnx|ckpt|safetensors|h5|keras|tflite|engine|pdparams)$", re.IGNORECASE
)
_LARGE_BYTES = 1 << 20


def is_weights(path: str, size: int | None = None) -> bool:
    """Whether a file is probably a network's weights: by its name, or with a size also by that.

    Libraries ship small files of the same names; those are not meant.
    """
    if _LIBRARY.search(path.lstrip("/")):
        return False
    if size is None or size >= _LARGE_BYTES:
        return bool(_WEIGHTS.search(path))
    return bool(_SURELY_WEIGHTS.search(path))


def is_in_library(path: str) -> bool:
    """Whether a path lies where the system or Python installs libraries."""
    return bool(_LIBRARY.search(path.lstrip("/")))


def name_of(path: str) -> str:
    """Return the last part of a path."""
    return PurePosixPath(path).name


def _joined(here: list[tuple[str, Node]]) -> str:
    return "".join(f"/{name}" for name, _ in here[1:])


def _older(node: Node, layer: int) -> bool:
    """Drop what is older than a layer from a folder, and return whether the node itself is."""
    if node.kind == "folder":
        for name in [name for name, below in node.inside.items() if _older(below, layer)]:
            del node.inside[name]
        return node.layer < layer and not node.inside
    return node.layer < layer


def _permits(node: Node, uid: int, gid: int, needed: int) -> bool:
    if uid == 0 or node.kind == "symlink":
        return True
    if node.uid == uid:
        return bool(node.mode & needed << 6)
    if node.gid == gid:
        return bool(node.mode & needed << 3)
    return bool(node.mode & needed)
