"""Understand an image archive: what Docker 20.10 to 29, BuildKit, Podman and skopeo write."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

from harness.submission.blobs import Blobs
from harness.submission.tarstream import RefusedArchiveError, safe_name

_CHUNK = 1 << 20
_LARGEST_JSON_BYTES = 4 << 20
_DEEPEST_INDEX = 4
_MOST_MANIFESTS = 100
_SHA256 = re.compile(r"sha256:[0-9a-f]{64}")
_ATTESTATION = "vnd.docker.reference.type"
_NAMES = ("io.containerd.image.name", "org.opencontainers.image.ref.name")
_CONFIG_KINDS = (
    "",
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
)
_PROCESSORS = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64"}
_UNKNOWN_PLATFORM = "unknown/unknown"


@dataclass(frozen=True)
class ArchivedImage:
    """One image of an archive.

    Attributes:
        config: The image's configuration, byte for byte: its SHA-256 is the image's identity.
        layers: Blob names, lowest layer first.
        diff_ids: SHA-256 of each layer unpacked, `sha256:...`, from the config.
        name: What the archive calls it; may be empty.
        stated_platform: What the archive's index says of it, for a config that does not.
    """

    config: bytes
    layers: tuple[str, ...]
    diff_ids: tuple[str, ...]
    name: str = ""
    stated_platform: str = ""

    @property
    def digest(self) -> str:
        """The config's digest."""
        return f"sha256:{hashlib.sha256(self.config).hexdigest()}"

    @property
    def about(self) -> Mapping[str, Any]:
        """The config, parsed."""
        found: Mapping[str, Any] = json.loads(self.config)
        return found

    @property
    def platform(self) -> str:
        """`linux/amd64`; empty where nothing says."""
        return _platform(self.about) or self.stated_platform


def read_image(blobs: Blobs, *, platform: str = "linux/amd64") -> ArchivedImage:
    """Understand an archive: `docker save` with its manifest.json, or else an OCI layout.

    Beside the image there may be others for other platforms, several names of it, attestations and
    signatures, and manifests of which the archive holds nothing more.

    Args:
        blobs: The archive's files.
        platform: Which image is meant where there are several, and the only one that is taken.

    Raises:
        RefusedArchiveError: it is neither, holds no or several images for the platform, lacks a file,
            or a blob is not what its digest says.
    """
    images = {image.digest: image for image in _images(blobs)}
    fitting = [image for image in images.values() if image.platform in ("", platform)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        names = ", ".join(image.name or image.digest[:19] for image in fitting)
        raise RefusedArchiveError(
            f"it holds {len(fitting)} images for {platform}, not one: {names[:300]}",
            mend="Save one: `docker save NAME:TAG`.",
        )
    others = ", ".join(sorted({image.platform for image in images.values()})) or "no platform"
    raise RefusedArchiveError(
        f"its image is for {others}, not for {platform}", mend=f"Build it with --platform {platform}."
    )


def _images(blobs: Blobs) -> list[ArchivedImage]:
    """Return the images that Docker's list names, or else those of an OCI layout."""
    if "manifest.json" not in blobs and "index.json" not in blobs:
        raise RefusedArchiveError("it has neither manifest.json nor index.json")
    if "manifest.json" not in blobs:
        return list(_OciLayout(blobs).images())
    try:
        return list(_named_by_docker(blobs))
    except RefusedArchiveError as error:
        # Writers that add Docker's list for old readers have written lists that name what is not there.
        if "index.json" not in blobs:
            raise
        try:
            return list(_OciLayout(blobs).images())
        except RefusedArchiveError:
            raise error from None


def _named_by_docker(blobs: Blobs) -> Iterator[ArchivedImage]:
    manifest = _json(blobs, "manifest.json")
    if isinstance(manifest, dict) and "layers" in manifest:
        yield _image(blobs, manifest, _bare_name)  # a folder of skopeo's `dir:`
        return
    if not isinstance(manifest, list) or not 0 < len(manifest) <= _MOST_MANIFESTS:
        count = len(manifest) if isinstance(manifest, list) else 0
        raise RefusedArchiveError(f"its manifest.json names {count} images, not one")
    for entry in manifest:
        config, layers = (
            (entry.get("Config"), entry.get("Layers")) if isinstance(entry, dict) else (None, None)
        )
        if not isinstance(config, str) or not _all_text(layers):
            raise RefusedArchiveError("its manifest.json names no config and layers")
        yield _with_layers(
            _bytes(blobs, safe_name(config)),
            tuple(safe_name(name) for name in layers),
            name=_first_tag(entry),
        )


class _OciLayout:
    """Walk from index.json to every manifest that the archive holds."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._seen = 0
        self._missing: list[str] = []

    def images(self) -> Iterator[ArchivedImage]:
        """Yield the images, one that has several names several times.

        Raises:
            RefusedArchiveError: there is none, or one is not what its digest says.
        """
        document = _json(self._blobs, "index.json")
        if not isinstance(document, dict):
            raise RefusedArchiveError("its index leads to no image manifest")
        count = 0
        for image in self._below(document, "", depth=0):
            count += 1
            yield image
        if count == 0 and self._missing:
            raise RefusedArchiveError(f"it lacks {self._missing[0]!r}, the manifest that its index names")
        if count == 0:
            raise RefusedArchiveError("its index leads to no image manifest")

    def _below(self, document: Mapping[str, Any], name: str, *, depth: int) -> Iterator[ArchivedImage]:
        descriptors = document.get("manifests")
        if not isinstance(descriptors, list) or not all(isinstance(each, dict) for each in descriptors):
            raise RefusedArchiveError("its index names no manifests")
        for descriptor in descriptors:
            if _is_beside_the_image(descriptor):
                continue
            self._seen += 1
            if self._seen > _MOST_MANIFESTS or depth > _DEEPEST_INDEX:
                raise RefusedArchiveError("its index names too many manifests")
            blob = _blob_name(descriptor)
            if blob not in self._blobs:
                self._missing.append(blob)
                continue
            below = _json(self._blobs, blob, verify=True)
            called = _name_of(descriptor) or name
            if isinstance(below, dict) and "manifests" in below:
                yield from self._below(below, called, depth=depth + 1)
            elif isinstance(below, dict) and _is_image(below):
                image = _image(self._blobs, below, _blob_name, verify=True, name=called)
                yield replace(image, stated_platform=_platform_of(descriptor))


def _is_beside_the_image(descriptor: Mapping[str, Any]) -> bool:
    """Whether a descriptor leads to what was said about an image: provenance, a list of packages."""
    annotations = descriptor.get("annotations")
    if isinstance(annotations, dict) and _ATTESTATION in annotations:
        return True
    return _platform_of(descriptor) == _UNKNOWN_PLATFORM


def _platform_of(descriptor: Mapping[str, Any]) -> str:
    platform = descriptor.get("platform")
    return _platform(platform) if isinstance(platform, dict) else ""


def _platform(about: Mapping[str, Any]) -> str:
    """Return `linux/amd64` for a config or a descriptor's platform; empty where it does not say."""
    processor = str(about.get("architecture") or "").lower()
    system = str(about.get("os") or "linux").lower()
    return f"{system}/{_PROCESSORS.get(processor, processor)}" if processor else ""


def _is_image(manifest: Mapping[str, Any]) -> bool:
    """Whether a manifest is an image's: signatures and other artifacts have configs of other types."""
    config = manifest.get("config")
    kind = config.get("mediaType", "") if isinstance(config, dict) else None
    image_kinds = (
        "",
        "application/vnd.oci.image.config.v1+json",
        "application/vnd.docker.container.image.v1+json",
    )
    return kind in image_kinds and not manifest.get("artifactType") and "layers" in manifest


def _first_tag(entry: Mapping[str, Any]) -> str:
    tags = entry.get("RepoTags")
    return tags[0] if _all_text(tags) and tags else ""


def _name_of(descriptor: Mapping[str, Any]) -> str:
    annotations = descriptor.get("annotations")
    if not isinstance(annotations, dict):
        return ""
    return next((str(annotations[key]) for key in _NAMES if annotations.get(key)), "")


def _image(
    blobs: Blobs, manifest: Mapping[str, Any], named: Any, *, verify: bool = False, name: str = ""
) -> ArchivedImage:
    layers = manifest["layers"]
    if not isinstance(layers, list) or not all(isinstance(each, dict) for each in layers):
        raise RefusedArchiveError("its index leads to no image manifest")
    config = _bytes(blobs, named(manifest.get("config")), verify=verify)
    return _with_layers(config, tuple(named(layer) for layer in layers), name=name)


def _bare_name(descriptor: Any) -> str:
    return _blob_name(descriptor).rpartition("/")[2]


def _blob_name(descriptor: Any) -> str:
    digest = descriptor.get("digest") if isinstance(descriptor, dict) else None
    if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
        raise RefusedArchiveError(f"it names a blob by {str(digest)[:100]!r}, not by a sha256 digest")
    return f"blobs/{digest.replace(':', '/')}"


def _with_layers(config: bytes, layers: tuple[str, ...], *, name: str) -> ArchivedImage:
    content = _parsed(config, "the image's config")
    root = content.get("rootfs") if isinstance(content, dict) else None
    diff_ids = root.get("diff_ids") if isinstance(root, dict) else None
    if not _all_text(diff_ids) or not all(_SHA256.fullmatch(each) for each in diff_ids):
        raise RefusedArchiveError("the image's config names no layers")
    if len(diff_ids) != len(layers):
        raise RefusedArchiveError(f"its manifest has {len(layers)} layers, its config {len(diff_ids)}")
    return ArchivedImage(config, layers, tuple(diff_ids), name)


def _all_text(values: Any) -> TypeGuard[list[str]]:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)


def _json(blobs: Blobs, name: str, *, verify: bool = False) -> Any:
    return _parsed(_bytes(blobs, name, verify=verify), name)


def _parsed(data: bytes, name: str) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise RefusedArchiveError(f"{name} is not JSON") from error


def _bytes(blobs: Blobs, name: str, *, verify: bool = False) -> bytes:
    if blobs.size(name) > _LARGEST_JSON_BYTES:
        raise RefusedArchiveError(f"{name!r} has {blobs.size(name)} bytes")
    source, parts = blobs.open(name), []
    while data := source.read(_CHUNK):
        parts.append(data)
    content = b"".join(parts)
    if verify and hashlib.sha256(content).hexdigest() != name.rpartition("/")[2]:
        raise RefusedArchiveError(f"{name!r} is not what its digest says")
    return content
