"""A bill of materials of an image, CycloneDX 1.5: the packages of Debian and of Python that its layers hold.

Nothing of the image is run: its layers are read as the engine saves them. See https://cyclonedx.org/docs/1.5/json/.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from harness import __version__
from harness.engine.cache import made_cache_folder
from harness.engine.images import EngineRefused, ImageClient
from harness.errors import InfrastructureError
from harness.files import write_whole
from harness.submission.archive import read_image
from harness.submission.blobs import TarBlobs
from harness.submission.image import BuiltImage
from harness.submission.layers import ArchiveLimits, check_layers
from harness.submission.packages import Package, debian_packages, python_package
from harness.submission.sources import spool
from harness.submission.tarstream import Member

_STATUS = "var/lib/dpkg/status"
_METADATA = (".dist-info/METADATA", ".egg-info/PKG-INFO")
_MOST_BYTES = 8 << 20
_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"


def sbom_of(images: ImageClient, image: BuiltImage) -> Path:
    """Return the image's bill of materials, made once per image, in the user's cache folder.

    Raises:
        PrerequisiteError: the cache folder cannot be written.
        InfrastructureError: the engine cannot save the image.
    """
    folder = made_cache_folder() / "sbom"
    folder.mkdir(exist_ok=True)
    path = folder / f"{image.identity.removeprefix('sha256:')}.cdx.json"
    if not path.is_file():
        write_whole(path, to_cyclonedx(packages_of(images, image), image))
    return path


def packages_of(images: ImageClient, image: BuiltImage) -> list[Package]:
    """Return what is installed in an image of the engine, sorted.

    Raises:
        InfrastructureError: the engine cannot save it.
    """
    held = _Held()
    try:
        with spool(images.save(image.digest)) as saved:
            blobs = TarBlobs(saved, where=image.reference)
            archived = read_image(blobs, platform=image.platform)
            check_layers(blobs, archived, ArchiveLimits(), watcher=held.see)
    except EngineRefused as error:
        raise InfrastructureError("the engine cannot save the image", where=str(error)) from error
    return held.packages()


class _Held:
    """The files of the merged layers that tell of packages."""

    def __init__(self) -> None:
        self._files: dict[str, bytes] = {}

    def see(self, layer: int, member: Member, first: Callable[[int], bytes]) -> None:
        folder, _, last = member.name.strip("/").rpartition("/")
        if last.startswith(_WHITEOUT):
            gone = f"{folder}/" if last == _OPAQUE else f"{folder}/{last.removeprefix(_WHITEOUT)}".lstrip("/")
            self._files = {name: text for name, text in self._files.items() if not _below(name, gone)}
        elif member.kind == "file" and (member.name == _STATUS or member.name.endswith(_METADATA)):
            self._files[member.name] = first(_MOST_BYTES)

    def packages(self) -> list[Package]:
        found = {
            package
            for name, content in self._files.items()
            if name != _STATUS and (package := python_package(content)) is not None
        }
        return sorted({*found, *debian_packages(self._files.get(_STATUS, b""))})


def to_cyclonedx(packages: Iterable[Package], image: BuiltImage) -> str:
    """Return the bill of materials as JSON, the same text for the same image."""
    digest = image.identity.removeprefix("sha256:")
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, image.identity)}",
        "version": 1,
        "metadata": {
            "tools": {
                "components": [{"type": "application", "name": "flareharness", "version": __version__}]
            },
            "component": {
                "type": "container",
                "bom-ref": image.identity,
                "name": image.reference,
                "version": image.identity,
                "hashes": [{"alg": "SHA-256", "content": digest}],
            },
        },
        "components": [_component(package) for package in packages],
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _component(package: Package) -> dict[str, Any]:
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": package.purl,
        "name": package.name,
        "version": package.version,
        "purl": package.purl,
    }
    if package.licence:
        named = (
            {"expression": package.licence}
            if package.is_expression
            else {"license": {"name": package.licence}}
        )
        component["licenses"] = [named]
    return component


def _below(name: str, gone: str) -> bool:
    return name == gone or name.startswith(gone if gone.endswith("/") else f"{gone}/")
