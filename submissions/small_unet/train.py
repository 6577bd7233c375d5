"""Train the small U-Net: from a FLARE-layout folder to float16 weights, resumable at any point.

    python train.py DATA [--schedule full|short] [--task tumour|organs_tumour] [--work DIR]

DATA holds imagesTr/<case>_0000.nii.gz and labelsTr/<case>.nii.gz. Every step (raw folder,
fingerprint, plans, preprocessing, training, export) is skipped where its result lies in the work
folder already; a training that was stopped goes on from its checkpoint. Only imagesTr and labelsTr
are ever opened.
"""

import argparse
import json
import os
import random
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "segkit"))

from segkit.convert import convert  # noqa: E402
from segkit.errors import SegkitError  # noqa: E402
from segkit.plan import ABDOMINAL_ORGANS  # noqa: E402

DATASET_ID = 1
PLANS_NAME = "S4D2W32"
CONFIGURATION = "S4D2W32"
LABELS = {
    "tumour": ["background", "tumour"],
    "organs_tumour": ["background", *ABDOMINAL_ORGANS, "tumour"],
}


def main() -> int:
    """Run every step that is left to do."""
    options = parse_options()
    say(f"work folder {options.work}: delete it to start anew")
    prepare_environment(options)
    dataset = f"Dataset{DATASET_ID:03d}_{options.task}"
    recipe = json.loads((options.recipe or recipe_path(options.schedule, options.task)).read_text())
    if options.hours is not None and "schedule" in recipe:
        recipe["schedule"]["hours"] = options.hours
    if options.seed is not None and "schedule" in recipe:
        recipe["schedule"]["seed"] = options.seed

    try:
        if not options.export_only:
            make_raw_folder(options.data, options.work / "raw" / dataset, options.task)
            fingerprint = make_fingerprint(options.work / "preprocessed" / dataset)
            write_plans(options.work, fingerprint, recipe, dataset)
            preprocess(options.work / "preprocessed" / dataset)
            train(recipe["trainer"], options)
        export(options.work / "results" / dataset, recipe["trainer"], options)
    except KeyboardInterrupt:
        say("stopped; the same command goes on from the last checkpoint")
        return 130
    except (TrainingDataError, SegkitError) as error:
        say(f"error: {error}")
        return 2
    return 0


class TrainingDataError(Exception):
    """The training folder cannot be used as it is."""


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, help="folder with imagesTr and labelsTr")
    parser.add_argument("--schedule", choices=["full", "short"], default="full")
    parser.add_argument("--task", choices=sorted(LABELS), help="guessed from the labels if not given")
    parser.add_argument(
        "--work", type=Path, help="work folder (default: .cache/TASK-SCHEDULE beside train.py)"
    )
    parser.add_argument("--out", type=Path, help="where the weights go (default: weights/TASK)")
    parser.add_argument("--recipe", type=Path, help="a JSON file of your own in place of plans/SCHEDULE")
    parser.add_argument("--fold", default="all", help="'all', or 0 to 4 to hold out a fifth of the cases")
    parser.add_argument("--hours", type=float, help="time for the short schedule")
    parser.add_argument("--seed", type=int, help="seed for the short schedule")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="CPU threads")
    parser.add_argument("--device", choices=["cpu", "cuda"], help="default: cuda where there is one")
    parser.add_argument(
        "--start-from", type=Path, help="a model folder whose weights a new training begins with"
    )
    parser.add_argument("--export-only", action="store_true", help="only export the newest checkpoint")
    options = parser.parse_args()
    options.task = options.task or guess_task(options.data)
    options.work = options.work or HERE / ".cache" / f"{options.task}-{options.schedule}"
    options.out = options.out or HERE / "weights" / options.task
    return options


def prepare_environment(options: argparse.Namespace) -> None:
    """Set what nnU-Net reads from the environment; must come before its first import."""
    os.environ.update(
        nnUNet_raw=str(options.work / "raw"),
        nnUNet_preprocessed=str(options.work / "preprocessed"),
        nnUNet_results=str(options.work / "results"),
        nnUNet_extTrainer=str(HERE / "trainers"),
    )
    # On few cores a second process only takes time from the network.
    os.environ.setdefault(
        "nnUNet_n_proc_DA", "0" if options.threads <= 4 else str(min(12, options.threads - 2))
    )
    os.environ.setdefault("OMP_NUM_THREADS", str(options.threads))


def guess_task(data: Path) -> str:
    """The task whose labels dataset.json names: two labels are the tumour, more are the organs."""
    description = data / "dataset.json"
    if not description.exists():
        raise SystemExit(
            f"error: {description} is missing, so say which task it is: --task tumour or organs_tumour"
        )
    return "tumour" if len(json.loads(description.read_text())["labels"]) == 2 else "organs_tumour"


def recipe_path(schedule: str, task: str) -> Path:
    """The file with spacing, patch and schedule."""
    own = HERE / "plans" / f"{schedule}.{task}.json"
    return own if own.exists() else HERE / "plans" / f"{schedule}.json"


def make_raw_folder(data: Path, raw: Path, task: str) -> None:
    """Write nnU-Net's raw folder: each case oriented and cropped to the body, as inference sees it.

    Raises:
        TrainingDataError: A folder, a label or an image is missing, or a label holds unknown values.
    """
    import SimpleITK as sitk
    from segkit.body import find_body
    from segkit.image import read_ct

    images = sorted((data / "imagesTr").glob("*_0000.nii.gz"))
    if not images:
        raise TrainingDataError(
            f"no imagesTr/<case>_0000.nii.gz in {data}; give the folder that holds imagesTr"
        )
    (raw / "imagesTr").mkdir(parents=True, exist_ok=True)
    (raw / "labelsTr").mkdir(parents=True, exist_ok=True)
    for number, image_path in enumerate(images, start=1):
        case = image_path.name.removesuffix("_0000.nii.gz")
        label_path = data / "labelsTr" / f"{case}.nii.gz"
        written = raw / "labelsTr" / f"{case}.nii.gz"
        if not label_path.exists():
            raise TrainingDataError(f"{label_path} is missing; every training image needs its label")
        if written.exists():
            continue
        ct = read_ct(image_path)
        labels = ct.orientation.to_canonical(sitk.GetArrayFromImage(sitk.ReadImage(str(label_path))))
        if labels.shape != ct.array.shape or labels.max() >= len(LABELS[task]):
            raise TrainingDataError(
                f"{label_path}: shape {labels.shape} for an image of {ct.array.shape}, values up to "
                f"{labels.max()} for {len(LABELS[task]) - 1} labels; the label must lie on the image's grid "
                f"and fit the task {task}"
            )
        body = find_body(ct.array, ct.spacing_mm)
        box = body.box if body else (slice(None),) * 3
        for array, path in ((ct.array[box], raw / "imagesTr" / image_path.name), (labels[box], written)):
            cropped = sitk.GetImageFromArray(np.ascontiguousarray(array))
            cropped.SetSpacing(ct.spacing_mm[::-1])
            sitk.WriteImage(cropped, str(path), useCompression=True, compressionLevel=1)
        say(f"raw folder: {number} of {len(images)}")
    description = {
        "channel_names": {"0": "CT"},
        "labels": {name: value for value, name in enumerate(LABELS[task])},
        "numTraining": len(images),
        "file_ending": ".nii.gz",
    }
    (raw / "dataset.json").write_text(json.dumps(description, indent=2))


def make_fingerprint(preprocessed: Path) -> dict:
    """nnU-Net's fingerprint of the data: sizes, spacings and the intensities of the foreground."""
    from nnunetv2.experiment_planning.plan_and_preprocess_api import extract_fingerprints

    path = preprocessed / "dataset_fingerprint.json"
    if not path.exists():
        say("fingerprint")
        extract_fingerprints([DATASET_ID], num_processes=2, check_dataset_integrity=False)
    return json.loads(path.read_text())


def write_plans(work: Path, fingerprint: dict, recipe: dict, dataset: str) -> None:
    """Write the plans: intensities from the fingerprint unless the recipe has its own, the rest from it.

    Resampling is linear on all axes, as at inference.
    """
    intensity = fingerprint["foreground_intensity_properties_per_channel"]
    intensity = {"0": {**intensity["0"], **recipe.get("intensity", {})}}
    linear = {"is_seg": False, "order": 1, "order_z": 1, "force_separate_z": False}
    configuration = {
        "data_identifier": f"{PLANS_NAME}_{CONFIGURATION}",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": recipe["batch_size"],
        "patch_size": recipe["patch_size"],
        "spacing": recipe["spacing"],
        "median_image_size_in_voxels": median_grid(fingerprint, recipe["spacing"]),
        "normalization_schemes": ["CTNormalization"],
        "use_mask_for_norm": [False],
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": linear,
        "resampling_fn_seg_kwargs": {**linear, "is_seg": True},
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": linear,
        "architecture": json.loads((HERE / "plans" / "architecture.json").read_text()),
        "batch_dice": True,
    }
    if "schedule" in recipe:
        configuration["schedule"] = recipe["schedule"]
    plans = {
        "dataset_name": dataset,
        "plans_name": PLANS_NAME,
        "original_median_spacing_after_transp": np.median(fingerprint["spacings"], axis=0).tolist(),
        "original_median_shape_after_transp": np.median(fingerprint["shapes_after_crop"], axis=0)
        .astype(int)
        .tolist(),
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {CONFIGURATION: configuration},
        "experiment_planner_used": "small_unet/train.py",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": intensity,
    }
    preprocessed = work / "preprocessed" / dataset
    (preprocessed / f"{PLANS_NAME}.json").write_text(json.dumps(plans, indent=2))
    shutil.copyfile(work / "raw" / dataset / "dataset.json", preprocessed / "dataset.json")


def median_grid(fingerprint: dict, spacing: list[float]) -> list[float]:
    """The median size of the cases in voxels of the network's grid."""
    sizes = np.array(fingerprint["shapes_after_crop"]) * np.array(fingerprint["spacings"]) / np.array(spacing)
    return np.median(sizes, axis=0).tolist()


def preprocess(preprocessed: Path) -> None:
    """Normalise and resample every case, once."""
    from nnunetv2.experiment_planning.plan_and_preprocess_api import preprocess as nnunet_preprocess

    finished = preprocessed / "preprocessed.ok"
    if not finished.exists():
        say("preprocessing")
        nnunet_preprocess([DATASET_ID], PLANS_NAME, configurations=[CONFIGURATION], num_processes=[2])
        finished.touch()


def let_torchvision_import() -> object:
    """Make torchvision importable where its compiled part does not fit a CPU build of torch.

    nnU-Net imports all trainers that it has to find one by name, and some of them import torchvision, of
    which nothing is used here. Only two of its operators must be declared for that. Returns what must
    stay alive for as long as they do.
    """
    import torch

    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        operators = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        return operators
    except ImportError:
        pass
    return None


def train(trainer_name: str, options: argparse.Namespace) -> None:
    """Train, or go on training where a checkpoint lies."""
    import torch

    _operators = let_torchvision_import()
    from nnunetv2.run.run_training import get_trainer_from_args, maybe_load_checkpoint

    device = torch.device(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if device.type == "cpu":
        torch.set_num_threads(options.threads)
        torch.set_num_interop_threads(1)
    random.seed(options.seed)
    np.random.seed(options.seed)  # nnU-Net draws its patches from the global generator
    trainer = get_trainer_from_args(
        str(DATASET_ID), CONFIGURATION, fold_of(options), trainer_name, PLANS_NAME, device=device
    )
    resume = newest_checkpoint(Path(trainer.output_folder)) is not None
    maybe_load_checkpoint(trainer, continue_training=resume, validation_only=False)
    if options.start_from and not resume:
        trainer.initialize()
        start_from(options.start_from, trainer.network)
    if resume:
        say(f"going on from epoch {trainer.current_epoch}")
    if resume and trainer.is_done():
        return
    final = Path(trainer.output_folder, "checkpoint_final.pth")
    if final.exists():
        # The schedule was made longer: what was final is no longer, and nnU-Net would prefer it.
        final.replace(final.with_name("checkpoint_latest.pth"))
    trainer.run_training()


def start_from(folder: Path, network: Any) -> None:
    """Copy the weights of a model folder into a torch network of the same plan.

    Raises:
        TrainingDataError: The folder holds no weights, or those of another network.
    """
    from safetensors.torch import load_file
    from segkit.model import WEIGHTS_NAME

    if not (folder / WEIGHTS_NAME).is_file():
        raise TrainingDataError(f"{folder / WEIGHTS_NAME} is missing; --start-from takes a model folder")
    try:
        # nnU-Net's names hold each weight more than once; the aliases share its memory.
        missing, unknown = network.load_state_dict(load_file(folder / WEIGHTS_NAME), strict=False)
    except RuntimeError as error:
        raise TrainingDataError(f"{folder}: its weights do not fit this network: {error}") from error
    if unknown or any("all_modules" not in name and "decoder.encoder" not in name for name in missing):
        raise TrainingDataError(f"{folder}: its weights are those of another network")
    say(f"beginning with the weights of {folder}")


def export(results: Path, trainer_name: str, options: argparse.Namespace) -> None:
    """Write the newest checkpoint as float16 weights with their plan."""
    model = results / f"{trainer_name}__{PLANS_NAME}__{CONFIGURATION}"
    checkpoint = newest_checkpoint(model / f"fold_{fold_of(options)}")
    if checkpoint is None:
        raise TrainingDataError(f"no checkpoint under {model}; train first")
    convert(
        checkpoint=checkpoint,
        plans=model / "plans.json",
        dataset=model / "dataset.json",
        out=options.out,
        orientation="canonical",
    )
    say(f"{checkpoint.name} exported to {options.out}")


def newest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint to go on from: the final one, else the latest."""
    for name in ("checkpoint_final.pth", "checkpoint_latest.pth"):
        if (folder / name).exists():
            return folder / name
    return None


def fold_of(options: argparse.Namespace) -> int | str:
    """The fold as nnU-Net wants it."""
    return options.fold if options.fold == "all" else int(options.fold)


def say(message: str) -> None:
    """Progress goes to stderr."""
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
