"""Remove every image that the project built or took in."""

from __future__ import annotations

import sys

from harness.engine.images import EngineRefused, ImageClient
from harness.errors import HarnessError

OURS = "flareharness/"


_REGISTRIES = ("localhost/", "docker.io/", "index.docker.io/")
"""What may stand before a name without changing what it means; Podman puts the first before all of ours."""


def is_ours(tag: str) -> bool:
    """Whether the project made this tag, however an engine writes it."""
    for registry in _REGISTRIES:
        tag = tag.removeprefix(registry)
    return tag.startswith(OURS)


def remove_images(images: ImageClient) -> tuple[list[str], list[str]]:
    """Remove all tags that start with `flareharness/`, and return those removed and those still in use."""
    removed, in_use = [], []
    tags = [tag for image in images.list() for tag in image.tags]
    # Children first: the engine keeps a parent's layers while a child has them.
    for tag in sorted(filter(is_ours, tags), key=lambda tag: "/submission/" not in tag):
        try:
            images.remove(tag)
        except EngineRefused:
            in_use.append(tag)
        else:
            removed.append(tag)
    return removed, in_use


def _main() -> int:
    from harness.engine.registry import images_of, open_engine

    try:
        removed, in_use = remove_images(images_of(open_engine()))
    except HarnessError as error:
        sys.stderr.write(f"{error.one_line()}\n")
        return error.exit_code
    sys.stderr.write(f"removed {len(removed)} image tag(s)\n")
    for tag in in_use:
        sys.stderr.write(f"still in use: {tag}\n")
    return 0


if __name__ == "__main__":
    sys.exit(_main())
