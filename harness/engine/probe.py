"""A tiny image made from this host's own shell and tools: no network, no registry, a few megabytes.

What proves a limit, or measures an empty container, must not depend on an image that a submission brings.
"""

from __future__ import annotations

import hashlib
import io
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from harness.engine.base import ContainerEngine, ImageInfo
from harness.errors import ConfigurationError, PrerequisiteError

REPOSITORY = "flareharness/probe"

TOOLS = (
    *("sh", "bash", "cat", "chmod", "chown", "cp", "dd", "getent", "grep", "head", "id", "ln", "ls", "mkdir"),
    *("mkfifo", "mknod", "mount", "rm", "sleep", "touch", "true", "wc", "yes"),
)


def probe_image(
    engine: ContainerEngine,
    *,
    tools: Iterable[str] = TOOLS,
    files: Mapping[str, bytes] | None = None,
    repository: str = REPOSITORY,
) -> ImageInfo:
    """Return an image with the host's tools in /bin, made unless it is there already.

    Args:
        engine: Where it is made.
        tools: Names of programs; those this host lacks are left out, except `sh`.
        files: More files by absolute path, executable for everyone.
        repository: What its tag begins with; the tag's version is the hash of what is in it.

    Raises:
        PrerequisiteError: this host has no Linux shell to copy.
    """
    content = _userland(tools) | {path.lstrip("/"): data for path, data in (files or {}).items()}
    tag = f"{repository}:{_content_hash(content)}"
    try:
        return engine.image(tag)
    except ConfigurationError:
        engine.import_image(_tar(content), tag)
        return engine.image(tag)


def _userland(tools: Iterable[str]) -> dict[str, bytes]:
    if sys.platform != "linux":
        raise PrerequisiteError(
            "a probe image needs Linux programs", mend="Run the harness on the engine's host."
        )
    content: dict[str, bytes] = {}
    for tool in tools:
        path = shutil.which(tool)
        if path is None:
            if tool == "sh":
                raise PrerequisiteError("this host has no `sh`", mend="Install a shell.")
            continue
        content[f"bin/{tool}"] = Path(path).read_bytes()
        for library in _libraries(path):
            content.setdefault(library.lstrip("/"), Path(library).read_bytes())
    return content


def _libraries(program: str) -> list[str]:
    """Return the shared libraries of a program and its loader, by absolute path; none for a static one."""
    listing = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    return sorted(set(re.findall(r"(?:=> |^\s*)(/\S+) \(0x", listing, flags=re.MULTILINE)))


def _content_hash(content: Mapping[str, bytes]) -> str:
    total = hashlib.sha256()
    for path in sorted(content):
        total.update(f"{path}\0{len(content[path])}\0".encode())
        total.update(content[path])
    return total.hexdigest()[:16]


def _tar(content: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    folders: set[str] = set()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        # /tmp with an unusual mode, so that what is proved with this image holds for unusual images too.
        for path in (*(f"{name}/x" for name in ("tmp", "etc", "workspace")), *sorted(content)):
            for parent in reversed(Path(path).parents[:-1]):
                if str(parent) not in folders:
                    folders.add(str(parent))
                    folder = tarfile.TarInfo(str(parent))
                    folder.type, folder.mode = tarfile.DIRTYPE, 0o755
                    archive.addfile(folder)
            if path in content:
                file = tarfile.TarInfo(path)
                file.size, file.mode = len(content[path]), 0o755
                archive.addfile(file, io.BytesIO(content[path]))
    return buffer.getvalue()
