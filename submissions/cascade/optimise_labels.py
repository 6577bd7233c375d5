"""Rounds of pseudo-label optimisation: predict the training set, join labels and predictions, train on.

    python optimise_labels.py DATA --weights weights --work DIR [--rounds 4] [--hours H]

Starts from a trained cascade. Each round leaves WORK/round<N>/labels and WORK/round<N>/weights, from which
the next one goes on; a run that was stopped goes on where it was. DATA is never written to.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from cascade.plan import PLAN_NAME
from cascade.train.pseudo import merge_folders
from segkit.log import log
from segkit.program import run_program
from segkit.torch_engine import best_device

HERE = Path(__file__).resolve().parent


def main() -> int:
    """Run the rounds that are left."""
    options = parse_options()

    def work() -> int:
        labels, weights = options.data / "labelsTr", options.weights
        try:
            for number in range(1, options.rounds + 1):
                folder = options.work / f"round{number}"
                labels, weights = run_round(folder, labels, weights, options)
                log.info(f"round {number}: labels in {labels}, weights in {weights}")
        except subprocess.CalledProcessError as error:
            # The program that failed has said why.
            return error.returncode
        return 0

    return run_program(work)


def run_round(folder: Path, labels: Path, weights: Path, options: argparse.Namespace) -> tuple[Path, Path]:
    """One round; returns its labels and its weights.

    Raises:
        SegkitError: The weights are not whole.
        TrainingDataError: Labels and images do not fit.
        subprocess.CalledProcessError: Predicting or training failed.
    """
    new_labels, new_weights = folder / "labels", folder / "weights"
    if (folder / "done").exists():
        return new_labels, new_weights
    if not (folder / "predicted.ok").exists():
        command = [HERE / "predict.py", "--inputs", options.data / "imagesTr"]
        command += ["--outputs", folder / "predicted", *engine_options(weights, folder / "model")]
        run_python(*command)
        (folder / "predicted.ok").touch()
    merge_folders(labels, folder / "predicted", new_labels)
    new_weights.mkdir(exist_ok=True)
    for name in (PLAN_NAME, "location.safetensors"):
        shutil.copyfile(weights / name, new_weights / name)
    command = [HERE / "train.py", options.data, "--phase", "2", "--labels", new_labels]
    command += ["--start-from", weights, "--work", folder / "training", "--out", new_weights]
    command += ["--recipe", options.recipe, "--seed", str(options.seed)]
    run_python(*command, *(["--hours", str(options.hours)] if options.hours else []))
    (folder / "done").touch()
    return new_labels, new_weights


def engine_options(weights: Path, model: Path) -> list[object]:
    """What runs the networks: torch on a GPU where there is one, else OpenVINO's form of them."""
    if best_device() != "cpu":
        return ["--weights", weights]
    from cascade.export import export

    export(weights, model)
    return ["--weights", model]


def run_python(*command: object) -> None:
    """Run one of our programs; Ctrl-C reaches it too."""
    subprocess.run([sys.executable, *map(str, command)], check=True)


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, help="folder with imagesTr and labelsTr")
    parser.add_argument("--weights", type=Path, default=HERE / "weights", help="the trained cascade")
    parser.add_argument("--work", type=Path, required=True, help="gets a folder per round")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--recipe", type=Path, default=HERE / "plans" / "full.json")
    parser.add_argument("--hours", type=float, help="training time per round")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
