"""Make weights half as large as in float16: kernels in 8-bit integers, a scale for each output channel.

    python -m segkit.compact submissions/cascade/weights

Whatever reads weights widens them again. For networks whose 8-bit form cannot run (`segkit.quantise`) but is
enough to keep them.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from segkit.errors import PlanError
from segkit.log import log
from segkit.model import compact, read_weights, write_weights
from segkit.program import run_program


def compact_folder(folder: Path) -> None:
    """Rewrite every safetensors file of a model folder; files that are compact already stay as they are.

    Raises:
        PlanError: There is none, or one is damaged.
    """
    paths = sorted(folder.glob("*.safetensors"))
    if not paths:
        raise PlanError(f"there is no .safetensors file in {folder}; give a model folder.")
    for path in paths:
        before = path.stat().st_size
        # Values that are multiples of a scale come out as the same integers.
        write_weights(path, compact(read_weights(path)))
        log.info(f"{path}: {before / 1e6:.1f} MB became {path.stat().st_size / 1e6:.1f} MB")


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="weights in half of the space of float16")
    parser.add_argument("folder", type=Path, help="model folder")
    options = parser.parse_args()
    return run_program(lambda: compact_folder(options.folder))


if __name__ == "__main__":
    sys.exit(main())
