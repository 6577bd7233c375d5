"""A results folder of nnU-Net v2 to a bundle.

    python -m segkit.nnunet.convert RESULTS OUT [--configuration 2d --configuration 3d_fullres] [--fold 0]

Checkpoints and post-processing are pickles. They are opened here, with readers that build tensors and plain
values and run no code; a bundle holds safetensors and JSON.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from segkit.convert import load_checkpoint, without_aliases
from segkit.errors import PlanError
from segkit.files import write_whole
from segkit.log import log
from segkit.model import WEIGHTS_NAME, in_float16, write_weights
from segkit.network import UNet
from segkit.nnunet.bundle import (
    BUNDLE_NAME,
    Bundle,
    Configuration,
    Labels,
    Normalisation,
    Orientation,
    Scheme,
    fold_folder,
)
from segkit.nnunet.results import Model, find, folds_of, read_postprocessing, sibling
from segkit.plan import Intensity, Resampling, inherited, network_of
from segkit.program import run_program

CHECKPOINT = "checkpoint_final.pth"
NO_POSTPROCESSING = "none"
_SCHEMES: Mapping[str, Scheme] = {
    "CTNormalization": "ct",
    "ZScoreNormalization": "zscore",
    "NoNormalization": "none",
    "RescaleTo01Normalization": "rescale01",
    "RGBTo01Normalization": "rgb01",
}
_READERS: Mapping[str, Orientation] = {
    "SimpleITKIO": "stored",
    "SimpleITKIOWithReorient": "ras",
    "NibabelIO": "stored",
    "NibabelIOWithReorient": "ras",
}


@dataclass(frozen=True)
class Options:
    """What of a results folder is bundled.

    Attributes:
        configurations: Those wanted; see `segkit.nnunet.results.find`.
        folds: Those wanted; all that are there if empty.
        checkpoint: Name of the file in each fold.
        postprocessing: A file of nnU-Net's, "none", or what nnU-Net determined if None.
        orientation: How volumes are turned; as nnU-Net's reader leaves them if None.
    """

    configurations: Sequence[str] = ()
    folds: Sequence[str] = ()
    checkpoint: str = CHECKPOINT
    postprocessing: str | None = None
    orientation: Orientation | None = None


def convert(results: Path, out: Path, options: Options = Options()) -> Bundle:
    """Write the bundle `out` from a results folder.

    Args:
        results: A model folder (TRAINER__PLANS__CONFIGURATION), or that of a data set.
        out: The bundle's folder; what a bundle of the same name had is replaced.
        options: What of it.

    Raises:
        SegkitError: Something is missing, or of a kind that segkit does not run, which is named.
    """
    found = find(results, options.configurations)
    models = _with_checkpoints(found.ensemble, options)
    for loaded in list(models.values()):
        _add_previous_stage(models, loaded, options)
    first = next(iter(models.values()))
    labels, order = _labels_of(first.dataset)
    channels = _channels_of(first.dataset)
    for loaded in models.values():
        if _labels_of(loaded.dataset) != (labels, order) or _channels_of(loaded.dataset) != channels:
            raise PlanError(
                f"{loaded.model.folder} was trained on other labels or channels than {first.model.folder}."
            )
    bundle = Bundle(
        channels=channels,
        labels=labels,
        regions_order=order,
        orientation=options.orientation or _orientation_of(first.plans),
        configurations={},
        ensemble=(),
    )
    configurations = {name: _configuration(loaded, bundle, models) for name, loaded in models.items()}
    bundle = Bundle(
        channels=channels,
        labels=labels,
        regions_order=order,
        orientation=bundle.orientation,
        configurations=configurations,
        ensemble=tuple(name for name, loaded in models.items() if loaded.averaged),
        postprocessing=_rules(options.postprocessing, found.postprocessing),
        source={
            "dataset": str(first.plans.get("dataset_name", "unknown")),
            "plans": str(first.plans.get("plans_name", "unknown")),
            "trainer": str(first.content.get("trainer_name", "unknown")),
        },
    )
    _write(out, bundle, models)
    return bundle


@dataclass
class _Loaded:
    """A model with its files open.

    Attributes:
        content: The first fold's checkpoint.
        folds: By fold, its checkpoint's file.
        averaged: Whether it is of the ensemble, or only the stage before one of it.
    """

    model: Model
    plans: dict[str, Any]
    dataset: dict[str, Any]
    content: dict[str, Any]
    folds: dict[str, Path]
    averaged: bool

    @property
    def configuration(self) -> str:
        return self.model.configuration or str(self.content["init_args"]["configuration"])

    @property
    def settings(self) -> dict[str, Any]:
        return inherited(self.plans, self.configuration)


def _with_checkpoints(ensemble: Sequence[Model], options: Options) -> dict[str, _Loaded]:
    loaded = [_load(model, options, averaged=True) for model in ensemble]
    names = [each.configuration for each in loaded]
    # Models of other plans or trainers go by their whole name where configurations alone would be alike.
    unique = len(set(names)) == len(names)
    return {each.configuration if unique else each.model.folder.name: each for each in loaded}


def _load(model: Model, options: Options, *, averaged: bool) -> _Loaded:
    folds = folds_of(model, options.folds, options.checkpoint)
    plans, dataset = (
        json.loads((model.folder / name).read_text(encoding="utf-8"))
        for name in ("plans.json", "dataset.json")
    )
    content = load_checkpoint(next(iter(folds.values())))
    return _Loaded(model, plans, dataset, content, folds, averaged)


def _previous_stage(loaded: _Loaded) -> str | None:
    return loaded.settings.get("previous_stage") or None


def _add_previous_stage(models: dict[str, _Loaded], loaded: _Loaded, options: Options) -> None:
    wanted = _previous_stage(loaded)
    if wanted is None or wanted in models:
        return
    models[wanted] = _load(sibling(loaded.model, wanted), options, averaged=False)


def _labels_of(dataset: Mapping[str, Any]) -> tuple[Labels, tuple[int, ...]]:
    """The labels but for the ignored one, and the order of regions."""
    labels: dict[str, int | tuple[int, ...]] = {}
    for name, told in dataset["labels"].items():
        if name != "ignore":
            labels[name] = tuple(int(value) for value in told) if isinstance(told, list) else int(told)
    values = sorted(
        {value for told in labels.values() for value in (told if isinstance(told, tuple) else (told,))}
    )
    has_regions = any(isinstance(told, tuple) and len(set(told)) > 1 for told in labels.values())
    order = tuple(int(value) for value in dataset.get("regions_class_order") or ()) if has_regions else ()
    if max(values) > 255:
        raise PlanError(
            f"label {max(values)} is above 255, and a submission's label maps are 8-bit; renumber the labels."
        )
    if not has_regions and values != list(range(len(values))):
        raise PlanError(f"label values {values} are not 0, 1, 2, ...; nnU-Net v2 asks for that, too.")
    if has_regions and not order:
        raise PlanError(
            "dataset.json has regions and no regions_class_order, without which they have no label map."
        )
    return labels, order


def _channels_of(dataset: Mapping[str, Any]) -> tuple[str, ...]:
    told = dataset.get("channel_names") or dataset["modality"]
    return tuple(str(told[key]) for key in sorted(told, key=int))


def _orientation_of(plans: Mapping[str, Any]) -> Orientation:
    reader = str(plans.get("image_reader_writer", "SimpleITKIO"))
    if reader not in _READERS:
        raise PlanError(
            f"the images were read by {reader}, and a submission is given NIfTI volumes; segkit follows "
            f"{', '.join(_READERS)}. Store the training images as .nii.gz and train again."
        )
    return _READERS[reader]


def _configuration(loaded: _Loaded, bundle: Bundle, models: Mapping[str, _Loaded]) -> Configuration:
    settings, plans = loaded.settings, loaded.plans
    preprocessor = settings.get("preprocessor_name", "DefaultPreprocessor")
    if preprocessor != "DefaultPreprocessor":
        raise PlanError(f"images were prepared by {preprocessor}, and segkit follows DefaultPreprocessor.")
    if (manager := plans.get("label_manager", "LabelManager")) != "LabelManager":
        raise PlanError(f"labels are those of {manager}, and segkit follows LabelManager.")
    logits = _resampling(settings, "probabilities")
    if logits.order != 1 or logits.order_z not in (0, 1):
        raise PlanError(
            f"probabilities are resampled by splines of order {logits.order}, and segkit by lines."
        )
    previous = _previous_stage(loaded)
    channels_in = len(bundle.channels) + (len(bundle.foreground) if previous else 0)
    first, second, third = plans["transpose_forward"]
    return Configuration(
        spacing_mm=tuple(float(size) for size in settings["spacing"]),
        patch=tuple(int(size) for size in settings["patch_size"]),
        transpose=(int(first), int(second), int(third)),
        normalisation=_normalisation(settings, plans, len(bundle.channels)),
        image_resampling=_resampling(settings, "data"),
        logits_resampling=logits,
        labels_resampling=_resampling(settings, "seg"),
        network=network_of(settings, bundle.outputs, channels_in),
        folds=tuple(loaded.folds),
        mirror_axes=tuple(loaded.content.get("inference_allowed_mirroring_axes") or ()),
        previous_stage=previous,
    )


def _normalisation(
    settings: Mapping[str, Any], plans: Mapping[str, Any], channels: int
) -> tuple[Normalisation, ...]:
    schemes, masks = settings["normalization_schemes"], settings["use_mask_for_norm"]
    if len(schemes) != channels:
        raise PlanError(f"the plans normalise {len(schemes)} channels, and dataset.json names {channels}.")
    found = []
    for number, (scheme, masked) in enumerate(zip(schemes, masks, strict=True)):
        if scheme not in _SCHEMES:
            raise PlanError(
                f"channel {number} is normalised by {scheme}; segkit knows {', '.join(_SCHEMES)}."
            )
        numbers = plans["foreground_intensity_properties_per_channel"].get(str(number))
        intensity = None
        if _SCHEMES[scheme] == "ct":
            intensity = Intensity(
                clip_low_hu=numbers["percentile_00_5"],
                clip_high_hu=numbers["percentile_99_5"],
                mean_hu=numbers["mean"],
                std_hu=numbers["std"],
            )
        found.append(Normalisation(_SCHEMES[scheme], bool(masked), intensity))
    return tuple(found)


def _resampling(settings: Mapping[str, Any], what: str) -> Resampling:
    name = settings.get(f"resampling_fn_{what}", "resample_data_or_seg_to_shape")
    numbers = settings.get(f"resampling_fn_{what}_kwargs") or {}
    if name == "resample_data_or_seg_to_shape":
        return Resampling(
            numbers.get("order", 3), numbers.get("order_z", 0), numbers.get("force_separate_z", False)
        )
    if name == "resample_torch_fornnunet":
        # Linear; between slices that stay apart the nearest.
        return Resampling(1, 0, numbers.get("force_separate_z"))
    raise PlanError(
        f"images are resampled by {name}; segkit knows resample_data_or_seg_to_shape and "
        "resample_torch_fornnunet."
    )


def _rules(wanted: str | None, determined: Path | None) -> tuple[tuple[int, ...], ...]:
    if wanted == NO_POSTPROCESSING:
        return ()
    path = Path(wanted) if wanted else determined
    if path is None:
        return ()
    rules = read_postprocessing(path)
    log.info(f"post-processing of {path.parent.name}: {len(rules)} rules")
    return rules


def _write(out: Path, bundle: Bundle, models: Mapping[str, _Loaded]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / BUNDLE_NAME).unlink(missing_ok=True)
    for name, loaded in models.items():
        shutil.rmtree(out / name, ignore_errors=True)
        network = UNet(bundle.configurations[name].network)
        for fold, checkpoint in loaded.folds.items():
            state = _weights(load_checkpoint(checkpoint), network, checkpoint)
            folder = fold_folder(out, name, fold)
            folder.mkdir(parents=True)
            write_weights(folder / WEIGHTS_NAME, state)
            log.info(f"{name}, fold {fold}: {sum(value.numel() for value in state.values()):,} parameters")
    # Last, so that a folder with this file is whole.
    write_whole(out / BUNDLE_NAME, bundle.to_json())


def _weights(content: Mapping[str, Any], network: UNet, checkpoint: Path) -> dict[str, torch.Tensor]:
    state = in_float16(without_aliases(content["network_weights"]))
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        trainer = content.get("trainer_name", "unknown")
        raise PlanError(
            f"{checkpoint}: the weights are not those of the planned network; the trainer {trainer} builds "
            f"another one, which segkit does not run ({str(error).splitlines()[-1].strip()[:200]})."
        ) from error
    return state


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of what is bundled."""
    for name, help_text in (
        ("configuration", "average this one; may be repeated. Default: the only one, or what nnU-Net chose"),
        ("fold", "only this one; may be repeated. Default: all numbered folds, else fold_all"),
    ):
        parser.add_argument(f"--{name}", dest=f"{name}s", action="append", default=[], help=help_text)
    parser.add_argument("--checkpoint", default=CHECKPOINT, help=f"default: {CHECKPOINT}")
    parser.add_argument(
        "--postprocessing", help="a file of nnU-Net's, or none; default: what nnU-Net determined"
    )
    parser.add_argument(
        "--orientation", choices=["stored", "canonical", "ras"], help="default: as nnU-Net's reader"
    )


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="a results folder of nnU-Net v2 to a bundle without pickles")
    parser.add_argument("results", type=Path)
    parser.add_argument("out", type=Path)
    add_options(parser)
    options = vars(parser.parse_args())
    results, out = options.pop("results"), options.pop("out")

    def work() -> None:
        bundle = convert(results, out, Options(**options))
        log.info(f"bundled {' + '.join(bundle.ensemble)}: {len(bundle.labels)} labels")

    return run_program(work)


if __name__ == "__main__":
    sys.exit(main())
