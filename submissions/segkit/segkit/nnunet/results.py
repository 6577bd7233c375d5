"""Finding one's way in what nnU-Net v2 leaves: models, folds, what find_best chose, post-processing."""

from __future__ import annotations

import importlib
import io
import json
import pickle
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segkit.errors import PlanError

_LARGEST = "remove_all_but_largest_component_from_segmentation"
_FOLD = re.compile(r"fold_(all|\d+)")
_WORDS_OF_V1 = {"3d": "3d_fullres", "3d_cascade": "3d_cascade_fullres", "cascade": "3d_cascade_fullres"}


@dataclass(frozen=True)
class Model:
    """A trained configuration: TRAINER__PLANS__CONFIGURATION, with plans.json, dataset.json and folds.

    Attributes:
        folder: The folder.
        configuration: Its configuration.
    """

    folder: Path
    configuration: str


@dataclass(frozen=True)
class Found:
    """What is to be bundled.

    Attributes:
        ensemble: The models whose probabilities are averaged.
        postprocessing: nnU-Net's file for them, or None.
    """

    ensemble: tuple[Model, ...]
    postprocessing: Path | None


def find(results: Path, configurations: Sequence[str] = ()) -> Found:
    """What a results folder holds: one model, or what find_best or the caller chose among several.

    Args:
        results: A model folder, or the folder of a data set with several of them.
        configurations: Those wanted, by nnU-Net's names or whole names of model folders; what find_best
            chose, or the only one, if none is given.

    Raises:
        PlanError: There is no model of nnU-Net v2, or it is not said which.
    """
    _refuse_others(results)
    if (results / "plans.json").is_file() and (results / "dataset.json").is_file():
        model = _model(results)
        return Found((model,), _postprocessing_of_crossvalidation(results))
    models = [_model(path.parent) for path in sorted(results.glob("*__*__*/plans.json"))]
    if not models:
        raise PlanError(
            f"{results} is no results folder of nnU-Net v2: neither plans.json, dataset.json and fold_X/ nor "
            "folders TRAINER__PLANS__CONFIGURATION are in it."
        )
    if configurations:
        chosen = [_named(_WORDS_OF_V1.get(word, word), models, results) for word in configurations]
        return Found(tuple(chosen), _postprocessing_of_ensemble(results, chosen))
    chosen_by_nnunet = results / "inference_information.json"
    if chosen_by_nnunet.is_file():
        return _chosen_by_nnunet(chosen_by_nnunet, models)
    if len(models) > 1:
        raise PlanError(
            f"{results} holds {len(models)} models ({', '.join(model.folder.name for model in models)}), and "
            "nnUNetv2_find_best_configuration has not chosen among them; name each one to average with "
            "--configuration."
        )
    return Found((models[0],), _postprocessing_of_crossvalidation(models[0].folder))


def folds_of(model: Model, wanted: Sequence[str], checkpoint: str) -> dict[str, Path]:
    """The checkpoint of each fold; numbered folds, or "all" where there are none, unless folds are named.

    Raises:
        PlanError: A fold or its checkpoint is missing.
    """
    there = {
        match[1]: path / checkpoint
        for path in sorted(model.folder.iterdir())
        if (match := _FOLD.fullmatch(path.name)) and (path / checkpoint).is_file()
    }
    chosen = list(wanted) or [fold for fold in there if fold != "all"] or list(there)
    missing = [fold for fold in chosen if fold not in there]
    if missing or not chosen:
        names = sorted({path.name for path in model.folder.glob("fold_*/checkpoint_*.pth")})
        what = f"fold_{missing[0]}/{checkpoint}" if missing else f"fold_X/{checkpoint}"
        there_is = (
            f"there is {', '.join(names)} in folds {', '.join(there) or 'none'}"
            if names
            else "it is not trained"
        )
        raise PlanError(f"{model.folder} has no {what}; {there_is} (--fold, --checkpoint).")
    return {fold: there[fold] for fold in chosen}


def sibling(model: Model, configuration: str) -> Model:
    """The model of another configuration of the same trainer and plans, which a cascade begins with.

    Raises:
        PlanError: It is not there.
    """
    trainer, plans, _ = model.folder.name.split("__")
    folder = model.folder.parent / f"{trainer}__{plans}__{configuration}"
    if not (folder / "plans.json").is_file():
        raise PlanError(
            f"{model.configuration} needs the labels of {configuration}, and there is no {folder}; put that "
            "model beside it."
        )
    return _model(folder)


def read_postprocessing(path: Path) -> tuple[tuple[int, ...], ...]:
    """The rules of nnU-Net's postprocessing.pkl or .json: label values of which only the largest part stays.

    The pickle is read by an unpickler that knows one name, that of nnU-Net's function, and runs nothing.

    Raises:
        PlanError: The file holds anything else.
    """
    try:
        if path.suffix == ".pkl":
            functions, arguments = _OnlyNames(io.BytesIO(path.read_bytes())).load()
        else:
            told = json.loads(path.read_text(encoding="utf-8"))
            functions, arguments = told["postprocessing_fns"], told["postprocessing_kwargs"]
        names = [str(function) for function in functions]
        if unknown := [name for name in names if name != _LARGEST]:
            raise ValueError(f"it names {unknown[0]}")
        if extra := {key for each in arguments for key in each} - {"labels_or_regions", "background_label"}:
            raise ValueError(f"it has the argument {sorted(extra)[0]}")
        return tuple(_values(each["labels_or_regions"]) for each in arguments)
    except (
        OSError,
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        EOFError,
        pickle.UnpicklingError,
    ) as error:
        raise PlanError(
            f"{path} is no post-processing of nnU-Net v2 that can be read safely ({error}); leave it out "
            "with --postprocessing none."
        ) from error


class _Name(str):
    """Stands for a function that a pickle names."""


class _OnlyNames(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """The name of nnU-Net's function, or numpy's plain numbers; nothing else is imported or called."""
        if name == _LARGEST and module.startswith("nnunetv2."):
            return _Name(name)
        if (module, name) == ("numpy", "dtype"):
            return np.dtype
        if name == "scalar" and module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            return importlib.import_module("numpy._core.multiarray").scalar
        raise pickle.UnpicklingError(f"it names {module}.{name}")


def _values(told: Any) -> tuple[int, ...]:
    """The label values of a rule: a label, a region, or a list of either; they count together."""
    if isinstance(told, list | tuple):
        return tuple(sorted({value for each in told for value in _values(each)}))
    return (int(told),)


def _model(folder: Path) -> Model:
    parts = folder.resolve().name.split("__")
    if len(parts) == 3:
        return Model(folder, parts[2])
    planned = sorted(json.loads((folder / "plans.json").read_text(encoding="utf-8"))["configurations"])
    known = [name for name in planned if folder.name.endswith(name)] or planned
    if len(known) == 1:
        return Model(folder, known[0])
    # The checkpoint says which of the planned configurations it is.
    return Model(folder, "")


def _named(word: str, models: Sequence[Model], results: Path) -> Model:
    found = [model for model in models if word in (model.configuration, model.folder.name)]
    if len(found) == 1:
        return found[0]
    names = ", ".join(model.folder.name for model in (found or models))
    raise PlanError(f"{results} has {'several' if found else 'no'} {word}; name one of {names}.")


def _chosen_by_nnunet(path: Path, models: Sequence[Model]) -> Found:
    best = json.loads(path.read_text(encoding="utf-8"))["best_model_or_ensemble"]
    chosen = []
    for each in best["selected_model_or_models"]:
        name = f"{each['trainer']}__{each['plans_identifier']}__{each['configuration']}"
        chosen.append(_named(name, models, path.parent))
    told = Path(best["postprocessing_file"])
    # The folder may have been moved since: the last parts of the path still hold.
    moved = path.parent.joinpath(*told.parts[-3:]), path.parent.joinpath(*told.parts[-2:])
    places = [
        place for place in (told, *moved, *path.parent.rglob(str(Path(*told.parts[-2:])))) if place.is_file()
    ]
    return Found(tuple(chosen), places[0] if places else None)


def _postprocessing_of_crossvalidation(model: Path) -> Path | None:
    return next(iter(sorted(model.glob("crossval_results_folds_*/postprocessing.pkl"))), None)


def _postprocessing_of_ensemble(results: Path, chosen: Sequence[Model]) -> Path | None:
    if len(chosen) == 1:
        return _postprocessing_of_crossvalidation(chosen[0].folder)
    names = {model.folder.name for model in chosen}
    for path in sorted((results / "ensembles").glob("ensemble___*/postprocessing.pkl")):
        if set(path.parent.name.split("___")[1:-1]) == names:
            return path
    return None


def _refuse_others(results: Path) -> None:
    if not results.is_dir():
        raise PlanError(
            f"{results} is no folder; give a results folder of nnU-Net v2 (an exported .zip must be unpacked "
            "first)."
        )
    of_v1 = [name for name in ("plans.pkl", "postprocessing.json") if (results / name).is_file()]
    models = [path for pattern in ("*.model", "*/*.model") for path in results.glob(pattern)]
    if models or (of_v1 and not (results / "plans.json").is_file() and of_v1[0] == "plans.pkl"):
        raise PlanError(
            f"{results} was trained with nnU-Net v1 ({(models or [results / of_v1[0]])[0].name}), whose "
            "plans and checkpoints v2 cannot run; its data set can be trained on again: make train "
            "TEAM=nnunet_ensemble DATA=that data set."
        )
    if _FOLD.fullmatch(results.name):
        raise PlanError(f"{results} is one fold; give the folder above it, and --fold {results.name[5:]}.")
