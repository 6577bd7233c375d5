"""Large weights as several small files, for ways of transport that take no large ones.

    python -m segkit.training.phantoms.shards join FOLDER

joins what `split` left; a model folder is whole again then.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from segkit.errors import PlanError
from segkit.program import run_program

LIMIT_BYTES = 15 * 2**20
_ENDING = ".safetensors"
_LISTS = ".shards.json"


def split(path: Path, limit_bytes: int = LIMIT_BYTES) -> list[Path]:
    """Write a safetensors file as several, none above a limit; the file itself is removed last.

    Args:
        path: The file; left as it is where it is small enough.
        limit_bytes: The largest size of a part; a single larger tensor has a part of its own.

    Returns:
        The files that hold the weights now.
    """
    if path.stat().st_size <= limit_bytes:
        return [path]
    parts: list[dict[str, Any]] = [{}]
    size = 0
    for name, value in load_file(path).items():
        # Names and shapes are in the file, too.
        bytes_each = value.numel() * value.element_size() + 256
        if parts[-1] and size + bytes_each > limit_bytes:
            parts.append({})
            size = 0
        parts[-1][name] = value
        size += bytes_each
    stem = path.name.removesuffix(_ENDING)
    names = [f"{stem}-{number:05d}-of-{len(parts):05d}{_ENDING}" for number in range(1, len(parts) + 1)]
    for name, content in zip(names, parts, strict=True):
        save_file(content, path.with_name(name))
        path.with_name(name).chmod(0o644)
    path.with_name(stem + _LISTS).write_text(json.dumps(names))
    path.unlink()
    return [path.with_name(name) for name in names]


def join(folder: Path) -> list[Path]:
    """Join everything that was split in a folder and the folders in it.

    Returns:
        The whole files.

    Raises:
        PlanError: A part is missing.
    """
    whole = []
    for listed in sorted(folder.rglob(f"*{_LISTS}")):
        parts = [listed.with_name(name) for name in json.loads(listed.read_text())]
        if missing := [part for part in parts if not part.is_file()]:
            raise PlanError(f"{missing[0]} is missing; copy all {len(parts)} parts.")
        state = {name: value for part in parts for name, value in load_file(part).items()}
        path = listed.with_name(listed.name.removesuffix(_LISTS) + _ENDING)
        save_file(state, path)
        path.chmod(0o644)
        for old in (*parts, listed):
            old.unlink()
        whole.append(path)
    return whole


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="join weights that were written as several files")
    parser.add_argument("action", choices=["join"])
    parser.add_argument("folder", type=Path)
    options = parser.parse_args(arguments)

    def work() -> None:
        for path in join(options.folder):
            print(path)

    return run_program(work)


if __name__ == "__main__":
    sys.exit(main())
