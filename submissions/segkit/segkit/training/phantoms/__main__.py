"""Train a network on phantoms, as a recipe says; the same command goes on where it stopped.

    python -m segkit.training.phantoms RECIPE STORE [STORE ...] --work WORK [--hours H] [--start-from MODEL]

RECIPE is a JSON file in a submission's folder plans/. What was learnt is written to --out, by default
WORK/model, in the form that the submission ships.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from segkit.program import run_program


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    # Read when torch is imported. Threads that wait for each other by spinning cost twice the CPU time
    # where other jobs share the cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from segkit.training.phantoms.train import Run, export_newest, train

    options = _parser().parse_args(arguments)
    run = Run(
        recipe=options.recipe,
        stores=tuple(options.stores),
        work=options.work,
        out=options.out or options.work / "model",
        held_out=options.held_out,
        start_from=options.start_from,
        hours=options.hours,
        steps=options.steps,
        seed=options.seed,
        threads=options.threads,
        device=options.device,
        bfloat16=options.bfloat16,
        compile=not options.no_compile,
        noise_from=options.noise_from,
    )

    def work() -> None:
        if options.export_only:
            export_newest(run)
        else:
            train(run)

    return run_program(work)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m segkit.training.phantoms", description=__doc__.split("\n")[0]
    )
    parser.add_argument("recipe", type=Path, help="JSON file in a submission's plans/")
    parser.add_argument(
        "stores", type=Path, nargs="+", help="folders that segkit.training.phantoms.make made"
    )
    parser.add_argument(
        "--work", type=Path, required=True, help="keeps the checkpoint, the table and the plot"
    )
    parser.add_argument("--out", type=Path, help="where the weights go (default: WORK/model)")
    parser.add_argument(
        "--held-out", type=Path, help="a store to judge by (default: the last of the stores')"
    )
    parser.add_argument(
        "--start-from", type=Path, help="model folder whose weights a new training begins with"
    )
    parser.add_argument(
        "--noise-from",
        type=Path,
        help="a store of real scans (segkit.training.phantoms.from_cts) whose noise some patches are given",
    )
    parser.add_argument("--hours", type=float, help="time, resumes included (default: the recipe's)")
    parser.add_argument("--steps", type=int, help="the most steps (default: the recipe's)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, help="CPU threads (default: all CPUs)")
    parser.add_argument("--device", choices=["cpu", "cuda"], help="default: cuda where there is one")
    parser.add_argument("--bfloat16", choices=["measure", "yes", "no"], default="measure")
    parser.add_argument("--no-compile", action="store_true", help="do not compile the network on a GPU")
    parser.add_argument("--export-only", action="store_true", help="write the newest checkpoint's weights")
    return parser


if __name__ == "__main__":
    sys.exit(main())
