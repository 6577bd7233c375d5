"""Train nnU-Net's whole ensemble: plan, preprocess, five folds of every configuration, choose, bundle.

    python train.py DATA [--schedule full|quick] [--configurations 2d 3d 3d_lowres] [--only 3d_fullres:0]

DATA holds imagesTr/<case>_0000.nii.gz (further channels _0001, ...) and labelsTr/<case>.nii.gz, with nnU-Net
v2's or v1's dataset.json or none. Every step is skipped where its result lies in the work folder, so the same
command goes on where it stopped; with --only, several machines share a work folder.
"""

import os
import sys
from pathlib import Path

from segkit.training.program import Options, train_main, training_parser, with_places
from stack.words import (
    ALL,
    CONFIGURATIONS,
    FOLDS,
    configuration_named,
    data_named,
    dataset_named,
    member_named,
)

HERE = Path(__file__).resolve().parent


def train(options: Options) -> None:
    """Run every step that is left to do."""
    from segkit.torch_engine import best_device
    from stack.best import bundle, choose
    from stack.lock import waited_for
    from stack.members import train_members
    from stack.prepare import prepare
    from stack.schedule import read_schedule
    from stack.work import Work

    work = Work(
        folder=options.work,
        dataset=dataset_named(options.data.resolve().name),
        how=read_schedule(options.recipe or HERE / "plans" / f"{options.schedule}.json"),
        threads=options.threads,
        processes=options.processes or max(1, options.threads // 2),
        device=options.device or best_device(),
        mirrored=options.mirror,
        start_from=options.start_from,
        given_plans=options.plans,
    )
    wanted = [options.only[0]] if options.only else options.configurations
    stage_before = ["3d_lowres"] if "3d_cascade_fullres" in wanted else []
    with waited_for(work.lock("prepare"), "the data is being prepared"):
        prepare(work, options.data, list(dict.fromkeys([*wanted, *stage_before])))
    if options.until == "preprocessing":
        return
    planned = work.configurations()
    if options.only:
        train_members(work, [options.only], wait=False)
        return
    members = [(name, fold) for name in wanted if name in planned for fold in options.folds]
    train_members(work, members, wait=True)
    if options.until == "members":
        return
    with waited_for(work.lock("choice"), "the best ensemble is being chosen"):
        best = choose(
            work,
            [name for name in wanted if name in planned],
            options.folds,
            with_all=options.ensemble == "all",
        )
        bundle(work, best, options.folds, options.out)


def parse_options() -> Options:
    """The command line."""
    parser = training_parser(__doc__, schedules=("full", "quick", "start"))
    parser.add_argument(
        "--configurations",
        nargs="+",
        type=configuration_named,
        default=list(CONFIGURATIONS),
        help="default: all that the plans have; v1's 3d is 3d_fullres",
    )
    parser.add_argument(
        "--folds",
        nargs="+",
        choices=[*FOLDS, ALL],
        default=list(FOLDS),
        help="default: 0 to 4; all trains on every case, so that nothing is left to choose by",
    )
    parser.add_argument(
        "--only", type=member_named, metavar="CONFIGURATION:FOLD", help="train one member and stop"
    )
    parser.add_argument(
        "--ensemble",
        choices=["pairs", "all"],
        default="pairs",
        help="what is compared: single configurations and pairs, or also all of them together",
    )
    parser.add_argument("--mirror", action="store_true", help="mirror at test time: eight times as long")
    parser.add_argument(
        "--until", choices=["preprocessing", "members", "bundle"], default="bundle", help="the last step"
    )
    parser.add_argument("--start-from", type=Path, help="a bundle whose weights every member begins with")
    parser.add_argument("--plans", type=Path, help="nnU-Net's plans to take in place of planning")
    parser.add_argument("--recipe", type=Path, help="a JSON file of your own in place of plans/SCHEDULE.json")
    options = parser.parse_args()
    options.data = data_named(str(options.data), os.environ)
    return with_places(options, HERE.name, options.schedule)


if __name__ == "__main__":
    sys.exit(train_main(parse_options, train))
