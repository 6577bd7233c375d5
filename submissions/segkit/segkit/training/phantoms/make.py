"""Make a store of phantoms, on all cores, or add to one.

python -m segkit.training.phantoms.make STORE --cases 200 --seed 1
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from segkit.cpu import usable_cpus
from segkit.log import log
from segkit.program import run_program
from segkit.training.phantoms.store import ENDING, StoreError, write_volume

SPACING_MM = (3.0, 2.5, 2.5)


def make_phantoms(
    folder: Path,
    *,
    cases: int,
    seed: int,
    spacing_mm: Sequence[float] = SPACING_MM,
    variety: float = 1.0,
    workers: int | None = None,
) -> None:
    """Make the phantoms that are missing: patients 1 to `cases` of the training part of a population.

    Args:
        folder: The store; made where missing.
        cases: How many there will be.
        seed: Names the population; no other part of it shares a patient.
        spacing_mm: Voxel size (z, y, x), about; the field of view is the patient's.
        variety: Share of the usual spread of the anatomy; a store holds phantoms of one.
        workers: Processes; as many as there are CPUs if None.

    Raises:
        StoreError: The phantom generator cannot be imported.
    """
    folder.mkdir(parents=True, exist_ok=True)
    generator_version()
    # The population and the generator are part of the name: another one adds, and never replaces.
    todo = [index for index in range(1, cases + 1) if not _path(folder, seed, index).exists()]
    if not todo:
        return
    count = min(workers or usable_cpus(), len(todo))
    z, y, x = spacing_mm
    make = partial(_make, folder, seed, (z, y, x), variety)
    if count == 1:
        for number, index in enumerate(todo, start=1):
            make(index)
            _say(number, len(todo))
        return
    # A fork of a process that has run torch may hang.
    with multiprocessing.get_context("spawn").Pool(count) as pool:
        for number, _ in enumerate(pool.imap_unordered(make, todo), start=1):
            _say(number, len(todo))


def generator_version() -> int:
    """The version of the phantom generator.

    Raises:
        StoreError: It cannot be imported.
    """
    try:
        from harness.data.phantom import GENERATOR_VERSION
    except ImportError as error:
        raise StoreError(
            f"the phantom generator cannot be imported ({error}); run this in the project's folder, with it "
            f"on PYTHONPATH"
        ) from error
    return GENERATOR_VERSION


def _make(
    folder: Path, seed: int, spacing_mm: tuple[float, float, float], variety: float, index: int
) -> None:
    from harness.data.phantom import make_case

    z, y, x = spacing_mm
    phantom = make_case(
        seed=seed, index=index, split="Tr", spacing_mm=(x, y, z), view="anywhere", variety=variety
    )
    write_volume(
        _path(folder, seed, index),
        _to_lps(phantom.tissue_hu),
        _to_lps(phantom.label),
        phantom.spacing_mm[::-1],
        kind="phantom",
        facts={"generator": generator_version(), "seed": seed, "index": index, **phantom.facts},
    )


def _to_lps(array: np.ndarray) -> np.ndarray:
    """(x, y, z) to the right, the front and the head as (z, y, x) to the head, the back and the left."""
    return array[::-1, ::-1].transpose(2, 1, 0)


def _path(folder: Path, seed: int, index: int) -> Path:
    return folder / f"phantom_v{generator_version()}_s{seed:03d}_{index:05d}{ENDING}"


def _say(number: int, count: int) -> None:
    if number % 20 == 0 or number == count:
        log.info(f"phantoms: {number} of {count}")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("store", type=Path, help="folder; phantoms that it holds already stay")
    parser.add_argument("--cases", type=int, required=True, help="how many phantoms of this seed")
    parser.add_argument("--seed", type=int, default=1, help="population")
    parser.add_argument(
        "--spacing", type=float, nargs=3, default=SPACING_MM, metavar=("Z", "Y", "X"), help="mm"
    )
    parser.add_argument("--workers", type=int, help="processes (default: all CPUs)")
    options = parser.parse_args(arguments)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    return run_program(
        lambda: make_phantoms(
            options.store,
            cases=options.cases,
            seed=options.seed,
            spacing_mm=options.spacing,
            workers=options.workers,
        )
    )


if __name__ == "__main__":
    sys.exit(main())
