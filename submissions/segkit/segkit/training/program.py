"""What every train.py has in common: its options, its folders, and how it ends."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from segkit.log import log
from segkit.program import run_program
from segkit.training.places import default_out, default_work

Options = argparse.Namespace


def training_parser(
    about: str | None,
    *,
    seed: int | None = 1,
    epilog: str | None = None,
    schedules: Sequence[str] = ("full", "short"),
) -> argparse.ArgumentParser:
    """A parser with the options of every training; a method adds its own.

    Args:
        about: The program's docstring, whose first line is shown.
        seed: The default seed; the recipe's if None.
        epilog: Shown below the options.
        schedules: Names of the schedules, the default first.
    """
    parser = argparse.ArgumentParser(description=(about or "").split("\n")[0], epilog=epilog)
    parser.add_argument("data", type=Path, help="folder with imagesTr and labelsTr")
    parser.add_argument("--schedule", choices=schedules, default=schedules[0])
    parser.add_argument("--hours", type=float, help="time, where the schedule follows the clock")
    parser.add_argument("--seed", type=int, default=seed)
    parser.add_argument("--work", type=Path, help="keeps every step (default: in the user's cache)")
    parser.add_argument("--out", type=Path, help="where the weights go (default: WORK/model)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="CPU threads")
    parser.add_argument(
        "--processes",
        type=int,
        help="cases prepared at a time (default: half of the threads, as memory allows)",
    )
    parser.add_argument("--device", choices=["cpu", "cuda"], help="default: cuda where there is one")
    return parser


def with_places(options: Options, method: str, name: str) -> Options:
    """The options with the work folder and the model folder that were not named.

    Args:
        options: As `training_parser` gives them.
        method: The submission.
        name: What is trained, and how.
    """
    options.work = options.work or default_work(method, name)
    options.out = options.out or default_out(options.work)
    return options


def train_main(parse: Callable[[], Options], train: Callable[[Options], None]) -> int:
    """The whole of a train.py.

    Args:
        parse: Reads the command line.
        train: Does what is left to do.

    Returns:
        The exit code: 0, 2 where nothing could be done, 130 when stopped.
    """

    def work() -> None:
        options = parse()
        # torch reads this when it is imported, so its modules are imported later.
        os.environ.setdefault("OMP_NUM_THREADS", str(options.threads))
        log.info(f"work folder {options.work}: delete it to start anew")
        train(options)

    return run_program(work, stopped="stopped; the same command goes on from the last checkpoint")
