"""The choice among configurations and their ensembles by cross-validation, and the bundle of what was chosen.

Single configurations and pairs are compared by nnU-Net's own find_best_configuration, from the
probabilities that it kept of held-out cases. `all` adds the ensemble of every single-stage configuration,
which nnU-Net does not look at.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from segkit.files import write_whole
from segkit.log import log

from stack.words import ALL
from stack.work import PLANS, Work, done, mark

ALL_TOGETHER = ("2d", "3d_fullres", "3d_lowres")
CHOICE = "choice.json"
NO_POSTPROCESSING = "none"


@dataclass(frozen=True)
class Choice:
    """What won.

    Attributes:
        configurations: Those whose probabilities are averaged.
        dice: Its mean foreground Dice over held-out cases, before post-processing.
        postprocessing: nnU-Net's file for it.
        compared: The Dice of everything that was compared, by name.
    """

    configurations: tuple[str, ...]
    dice: float
    postprocessing: str
    compared: dict[str, float]


def choose(work: Work, configurations: Sequence[str], folds: Sequence[str], *, with_all: bool) -> Choice:
    """Compare, and determine the post-processing of the winner; what was found before is read.

    Args:
        work: The work folder, every member trained.
        configurations: What to compare.
        folds: The folds that were trained.
        with_all: Also compare the ensemble of 2d, 3d_fullres and 3d_lowres.
    """
    if ALL in folds:
        log.info("nothing was held out to choose by: everything that was trained is averaged")
        return Choice(tuple(configurations), 0.0, NO_POSTPROCESSING, {})
    path = work.results / CHOICE
    asked = {"configurations": list(configurations), "folds": list(folds), "with_all": with_all}
    if done(path):
        told = json.loads(path.read_text(encoding="utf-8"))
        if told.pop("asked") == asked:
            return Choice(**{**told, "configurations": tuple(told["configurations"])})
    with work.for_nnunet():
        best = _of_singles_and_pairs(work, configurations, folds)
        if with_all and set(ALL_TOGETHER) <= set(configurations):
            best = _or_all(work, best, folds)
    mark(path, {**asdict(best), "asked": asked})
    for name, dice in best.compared.items():
        log.info(f"  {name}: Dice {dice:.4f}")
    log.info(f"best: {' + '.join(best.configurations)}, Dice {best.dice:.4f} on held-out cases")
    return best


def bundle(work: Work, best: Choice, folds: Sequence[str], out: Path) -> None:
    """Write the bundle of what was chosen."""
    from segkit.nnunet.convert import Options, convert

    options = Options(
        configurations=best.configurations,
        folds=folds,
        postprocessing=best.postprocessing,
        orientation="canonical",
    )
    convert(work.results, out, options)
    write_whole(out / "crossvalidation.json", json.dumps({"dice": best.compared}, indent=1) + "\n")
    log.info(f"bundle: {out}")


def _of_singles_and_pairs(work: Work, configurations: Sequence[str], folds: Sequence[str]) -> Choice:
    from nnunetv2.evaluation.find_best_configuration import find_best_configuration

    models = [{"plans": PLANS, "configuration": name, "trainer": work.how.trainer} for name in configurations]
    told = find_best_configuration(
        work.dataset,
        models,
        allow_ensembling=True,
        num_processes=work.processes,
        folds=_numbers(folds),
    )
    best = told["best_model_or_ensemble"]
    return Choice(
        configurations=tuple(each["configuration"] for each in best["selected_model_or_models"]),
        dice=float(best["result_on_crossval_pre_pp"]),
        postprocessing=str(best["postprocessing_file"]),
        compared={_short(name): float(dice) for name, dice in told["all_results"].items()},
    )


def _or_all(work: Work, best: Choice, folds: Sequence[str]) -> Choice:
    """The ensemble of all configurations of one stage where it beats the best so far."""
    from nnunetv2.ensembling.ensemble import ensemble_crossvalidations
    from nnunetv2.evaluation.evaluate_predictions import compute_metrics_on_folder
    from nnunetv2.postprocessing.remove_connected_components import determine_postprocessing
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    folder = work.results / "ensembles" / f"all___{'___'.join(ALL_TOGETHER)}"
    ensemble_crossvalidations(
        [str(work.model(name)) for name in ALL_TOGETHER], str(folder), _numbers(folds), work.processes
    )
    dataset: dict[str, Any] = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    plans = PlansManager(str(folder / "plans.json"))
    manager = plans.get_label_manager(dataset)
    truth = str(work.preprocessed / "gt_segmentations")
    scores = compute_metrics_on_folder(
        truth,
        str(folder),
        str(folder / "summary.json"),
        plans.image_reader_writer_class(),
        dataset["file_ending"],
        manager.foreground_regions if manager.has_regions else manager.foreground_labels,
        manager.ignore_label,
        work.processes,
    )
    dice = float(scores["foreground_mean"]["Dice"])
    compared = {**best.compared, " + ".join(ALL_TOGETHER): dice}
    if dice <= best.dice:
        return Choice(best.configurations, best.dice, best.postprocessing, compared)
    determine_postprocessing(
        str(folder), truth, str(folder / "plans.json"), str(folder / "dataset.json"), work.processes
    )
    return Choice(ALL_TOGETHER, dice, str(folder / "postprocessing.pkl"), compared)


def _numbers(folds: Sequence[str]) -> tuple[int, ...]:
    return tuple(int(fold) for fold in folds)


def _short(name: str) -> str:
    """The configurations in nnU-Net's name of a model or an ensemble."""
    parts = [part.rsplit("__", 1)[-1] for part in name.split("___")]
    return " + ".join(part for part in parts if part[:2] in ("2d", "3d"))
