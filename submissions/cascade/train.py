"""Train the cascade: from a FLARE-layout folder to float16 weights of both phases, resumable at any point.

    python train.py DATA [--schedule full|short] [--phase 1|2] [--hours H] [--seed N]

DATA holds imagesTr/<case>_0000.nii.gz and labelsTr/<case>.nii.gz; nothing else is opened. Each case is
prepared once per phase. The same command goes on where it stopped (Ctrl-C, power cut). Losses and
validation Dice are in WORK/PHASE/progress.csv and progress.svg.
"""

import argparse
import dataclasses
import os
import signal
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "segkit")]

from segkit.training.places import default_out, default_work  # noqa: E402

PHASES = {1: "location", 2: "organs"}


def main() -> int:
    """Train what is left to train."""
    options = parse_options()
    os.environ.setdefault("OMP_NUM_THREADS", str(options.threads))
    # torch reads the environment when it is imported.
    from cascade.train.cases import TrainingDataError
    from cascade.train.schedule import load_recipe
    from segkit.errors import SegkitError

    # A scheduler's polite kill stops like Ctrl-C, with a checkpoint.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        plan, schedules = load_recipe(options.recipe or HERE / "plans" / f"{options.schedule}.json")
        schedules = with_hours(schedules, options)
        say(f"work folder {options.work}: delete it to start anew")
        for number in options.phases:
            train_phase(PHASES[number], plan, schedules[PHASES[number]], options)
    except KeyboardInterrupt:
        say("stopped; the same command goes on from the last checkpoint")
        return 130
    except (TrainingDataError, SegkitError) as error:
        say(f"error: {error}")
        return 2
    return 0


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, help="folder with imagesTr and labelsTr")
    parser.add_argument("--schedule", choices=["full", "short"], default="full")
    parser.add_argument("--recipe", type=Path, help="a JSON file in place of plans/SCHEDULE.json")
    parser.add_argument("--phase", type=int, choices=sorted(PHASES), help="only this one (default: both)")
    parser.add_argument("--hours", type=float, help="time for what is trained, shared as in the recipe")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", type=Path, help="work folder (default: SCHEDULE in the user's cache)")
    parser.add_argument("--out", type=Path, help="where the weights go (default: WORK/model)")
    parser.add_argument("--labels", type=Path, help="labels in place of DATA/labelsTr, e.g. optimised ones")
    parser.add_argument("--start-from", type=Path, help="model folder whose weights are trained further")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="CPU threads")
    parser.add_argument(
        "--processes",
        type=int,
        help="cases prepared at a time (default: half of the threads, as memory allows)",
    )
    parser.add_argument("--device", choices=["cpu", "cuda"], help="default: cuda where there is one")
    options = parser.parse_args()
    options.work = options.work or default_work(HERE.name, options.schedule)
    options.out = options.out or default_out(options.work)
    options.labels = options.labels or options.data / "labelsTr"
    options.phases = [options.phase] if options.phase else list(PHASES)
    return options


def with_hours(schedules: dict, options: argparse.Namespace) -> dict:
    """The schedules with the hours of the command line shared among the phases that are trained."""
    if options.hours is None:
        return schedules
    names = [PHASES[number] for number in options.phases]
    # Where a recipe has no hours, phase 2 gets four fifths: its steps are that much dearer.
    shares = {name: schedules[name].hours or {"location": 0.25, "organs": 1.0}[name] for name in names}
    whole = sum(shares.values())
    return {
        **schedules,
        **{
            name: dataclasses.replace(schedules[name], hours=options.hours * share / whole)
            for name, share in shares.items()
        },
    }


def train_phase(phase: str, plan, schedule, options: argparse.Namespace) -> None:
    """Prepare the cases of a phase, train its network and write its weights."""
    import torch
    from cascade.model import build_network, load_network, save_phase
    from cascade.plan import load_plan
    from cascade.train.cases import prepare_cases
    from cascade.train.loop import Trainer
    from segkit.training.prepare import process_count

    device = torch.device(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    torch.set_num_threads(options.threads)
    folder = options.work / phase
    processes = process_count(options.processes, options.threads)
    cases = prepare_cases(options.data, options.labels, folder, plan, phase, processes)
    training, validation = held_out(cases, options.seed)
    torch.manual_seed(options.seed)
    network = build_network(plan, phase)
    if options.start_from:
        network = load_network(options.start_from, load_plan(options.start_from), phase)
    trainer = Trainer(
        name=phase,
        network=network,
        label_names=plan.labels if phase == "organs" else ("background", "organ"),
        training=training,
        validation=validation,
        patch=plan.organs.patch if phase == "organs" else None,
        schedule=schedule,
        folder=folder,
        seed=options.seed,
        device=device,
    )
    best = trainer.run()
    network.load_state_dict(best)
    source = (
        f"{len(training)} training cases, {len(validation)} held out, seed {options.seed}, "
        f"{trainer.state.iteration} steps in {trainer.state.elapsed_s / 3600:.2f} h, "
        f"best validation Dice {trainer.state.best_dice:.4f}"
    )
    save_phase(options.out, phase, plan, network, source)
    say(f"{phase}: weights written to {options.out}")


def held_out(cases: list, seed: int) -> tuple[list, list]:
    """Cases to learn from and cases to judge by: an eighth of all, one at least, twelve at most."""
    import random

    if len(cases) == 1:
        say("there is one case only, so validation sees what training sees")
        return cases, cases
    shuffled = random.Random(seed).sample(cases, len(cases))
    count = min(12, max(1, len(cases) // 8))
    return shuffled[count:], shuffled[:count]


def say(message: str) -> None:
    """Progress goes to stderr."""
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
