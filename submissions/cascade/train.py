"""Train the cascade: from a FLARE-layout folder to float16 weights of both phases, resumable at any point.

    python train.py DATA [--schedule full|short] [--phase 1|2] [--hours H] [--seed N]

DATA holds imagesTr/<case>_0000.nii.gz and labelsTr/<case>.nii.gz; nothing else is opened. Each case is
prepared once per phase. The same command goes on where it stopped (Ctrl-C, power cut). Losses and
validation Dice are in WORK/PHASE/progress.csv and progress.svg.
"""

from __future__ import annotations

import dataclasses
import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from segkit.log import log
from segkit.training.program import Options, train_main, training_parser, with_places

if TYPE_CHECKING:
    from cascade.plan import CascadePlan
    from cascade.train.cases import Case
    from cascade.train.schedule import Schedule

HERE = Path(__file__).resolve().parent
PHASES = {1: "location", 2: "organs"}


def train(options: Options) -> None:
    """Train the phases that are left to train."""
    from cascade.train.schedule import load_recipe

    plan, schedules = load_recipe(options.recipe or HERE / "plans" / f"{options.schedule}.json")
    schedules = with_hours(schedules, options)
    for number in options.phases:
        train_phase(PHASES[number], plan, schedules[PHASES[number]], options)


def parse_options() -> Options:
    """The command line."""
    parser = training_parser(__doc__)
    parser.add_argument("--recipe", type=Path, help="a JSON file in place of plans/SCHEDULE.json")
    parser.add_argument("--phase", type=int, choices=sorted(PHASES), help="only this one (default: both)")
    parser.add_argument("--labels", type=Path, help="labels in place of DATA/labelsTr, e.g. optimised ones")
    parser.add_argument("--start-from", type=Path, help="model folder whose weights are trained further")
    options = parser.parse_args()
    options.labels = options.labels or options.data / "labelsTr"
    options.phases = [options.phase] if options.phase else list(PHASES)
    return with_places(options, HERE.name, options.schedule)


def with_hours(schedules: dict[str, Schedule], options: Options) -> dict[str, Schedule]:
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


def train_phase(phase: str, plan: CascadePlan, schedule: Schedule, options: Options) -> None:
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
    log.info(f"{phase}: weights written to {options.out}")


def held_out(cases: list[Case], seed: int) -> tuple[list[Case], list[Case]]:
    """Cases to learn from and cases to judge by: an eighth of all, one at least, twelve at most."""
    if len(cases) == 1:
        log.info("there is one case only, so validation sees what training sees")
        return cases, cases
    shuffled = random.Random(seed).sample(cases, len(cases))
    count = min(12, max(1, len(cases) // 8))
    return shuffled[count:], shuffled[:count]


if __name__ == "__main__":
    sys.exit(train_main(parse_options, train))
