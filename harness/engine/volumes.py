"""Folders that an image declares as VOLUME: what it has there is copied once and shown to every container.

An engine gives each container a folder of the host for each declared volume, filled from the image, that no
limit reaches. A tmpfs in its place would hide what the image has there, be it weights or predict.sh.
"""

from __future__ import annotations

import contextlib
import io
import posixpath
import secrets
import tarfile
from collections.abc import Iterator, Mapping
from typing import Any

from harness.engine.base import Declared, ImageInfo


def copy_declared(
    api: Any, image: ImageInfo, *, inside: tuple[str, ...], labels: Mapping[str, str]
) -> tuple[Declared, ...]:
    """Return an image's volumes, with copies of those that hold files. See `ContainerEngine.copy_declared`.

    Args:
        api: The low-level client of the Docker SDK.
        image: The image.
        inside: Folders that will be mounted in containers.
        labels: Of the volumes and of the container that fills them, which is never started.
    """
    # What is mounted over such a folder anyway needs no copy.
    targets = sorted({posixpath.normpath(volume) for volume in image.volumes} - {*inside, "/tmp"})
    names = {target: f"flareharness-{secrets.token_hex(8)}" for target in targets}
    mounts = [
        {"Type": "volume", "Source": name, "Target": target, "VolumeOptions": {"Labels": dict(labels)}}
        for target, name in names.items()
    ]
    request = {
        "Image": image.digest,
        "Cmd": ["/"],
        "Labels": dict(labels),
        "NetworkDisabled": True,
        "HostConfig": {"Mounts": mounts, "NetworkMode": "none"},
    }
    filler = api.create_container_from_config(request, f"flareharness-{secrets.token_hex(8)}")["Id"]
    try:
        filled = {target for target in targets if _holds_files(api, filler, target)}
        if points := [path for path in (*inside, *targets) if _is_in(path, filled)]:
            api.put_archive(filler, "/", _folders(points))
    finally:
        api.remove_container(filler, force=True, v=True)
    for target in set(targets) - filled:
        api.remove_volume(names[target], force=True)
    return tuple(Declared(target, names[target] if target in filled else "") for target in targets)


def _is_in(path: str, folders: set[str]) -> bool:
    return any(path.startswith(folder.rstrip("/") + "/") for folder in folders)


def _holds_files(api: Any, container: str, folder: str) -> bool:
    """Whether anything but folders lies under a folder; reads no further than the first such thing."""
    chunks, _ = api.get_archive(container, folder)
    with contextlib.closing(chunks), tarfile.open(fileobj=_Chunks(chunks), mode="r|") as archive:  # type: ignore[call-overload]
        return any(not member.isdir() for member in archive)


def _folders(paths: list[str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path in paths:
            folder = tarfile.TarInfo(path.lstrip("/"))
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(folder)
    return buffer.getvalue()


class _Chunks:
    """An iterator of bytes as a file to read."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def read(self, size: int) -> bytes:
        while len(self._rest) < size and (chunk := next(self._chunks, b"")):
            self._rest += chunk
        data, self._rest = self._rest[:size], self._rest[size:]
        return data
