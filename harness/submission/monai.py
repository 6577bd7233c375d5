"""A ready submission from a MONAI bundle: its TorchScript network, and what its configuration does around it.

A bundle is a folder with configs/metadata.json, configs/inference.json and models/model.ts, as MONAI's bundle
specification describes it (docs.monai.io). Nothing of a bundle is executed here: expressions (`$...`) are
refused where a value depends on them, and the network is opened by the submission alone, in its container.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from evaluator.label_files import DEFAULT_TOLERANCE_MM
from evaluator.labels import Label
from harness.errors import SubmissionError
from harness.submission.folder import Parts, create, dockerfile, predict_sh, trained_on
from harness.submission.monai_predict import PREDICT_PY

METADATA = "configs/metadata.json"
INFERENCE = "configs/inference.json"
NETWORK = "models/model.ts"
CHECKPOINT = "models/model.pt"
_EXPORT = (
    "Export it where MONAI is installed: python -m monai.bundle ckpt_export network_def "
    f"--filepath {NETWORK} --ckpt_file {CHECKPOINT} --meta_file {METADATA} --config_file {INFERENCE}."
)
_OWN_SCRIPT = "Wrap a script that runs the bundle: harness new TEAM --script predict.py --requirements FILE."
_AXES = 3

_WITHOUT_MEANING = {
    "_target_", "keys", "allow_missing_keys", "image_only", "ensure_channel_first", "reader", "channel_dim",
    "device", "data_type", "dtype", "track_meta", "to_tensor", "strict_check",
}  # fmt: skip
"""What a transform may say that changes no voxel of a volume that SimpleITK has read."""

_NOTHING = ("LoadImaged", "EnsureChannelFirstd", "EnsureTyped", "ToTensord", "SaveImaged")
_BEFORE = {
    "Orientationd": {"axcodes"},
    "Spacingd": {"pixdim", "mode", "align_corners"},
    "ScaleIntensityRanged": {"a_min", "a_max", "b_min", "b_max", "clip"},
    "NormalizeIntensityd": {"nonzero", "channel_wise"},
    "ScaleIntensityd": {"minv", "maxv"},
}
_AFTER = {
    "Activationsd": {"softmax"},
    "AsDiscreted": {"argmax"},
    "Invertd": {
        "transform",
        "orig_keys",
        "meta_keys",
        "orig_meta_keys",
        "meta_key_postfix",
        "nearest_interp",
    },
}


def from_monai(team: str, bundle: Path, submissions: Path) -> Path:
    """Write submissions/TEAM from a MONAI bundle, whole or not at all.

    Args:
        team: The submission's name.
        bundle: The bundle's folder.
        submissions: Where submissions lie.

    Returns:
        The submission's folder.

    Raises:
        ConfigurationError: the name cannot be a submission's, or is taken.
        SubmissionError: the bundle has something that is not supported; the message says what would work.
    """
    _check_files(bundle)
    metadata, inference = (_Config(bundle / name) for name in (METADATA, INFERENCE))
    settings, labels, channels = settings_of(metadata, inference)
    title = str(metadata.content.get("name") or metadata.content.get("task") or bundle.resolve().name)
    copies = {"model.ts": bundle / NETWORK}
    if (bundle / "LICENSE").is_file():
        copies["LICENSE"] = bundle / "LICENSE"
    parts = Parts(
        title=f"MONAI bundle: {title}",
        about=_ABOUT,
        predict_sh=predict_sh('exec python3 predict.py "$inputs" "$outputs"'),
        dockerfile=dockerfile(["predict.py", "settings.json", "model.ts"]),
        challenge=trained_on(team, labels, channels),
        texts={"predict.py": PREDICT_PY, "settings.json": json.dumps(settings, indent=2) + "\n"},
        copies=copies,
    )
    return create(team, submissions, parts)


def _check_files(bundle: Path) -> None:
    if (bundle / NETWORK).is_file():
        with (bundle / NETWORK).open("rb") as file:
            if file.read(2) != b"PK":
                raise SubmissionError(
                    "the network is not TorchScript",
                    where=bundle / NETWORK,
                    mend=f"Is it a pointer? {_EXPORT}",
                )
    elif (bundle / CHECKPOINT).is_file():
        raise SubmissionError(
            f"the bundle has only {CHECKPOINT}, whose network Python code must build",
            where=bundle,
            mend=_EXPORT,
        )
    else:
        raise SubmissionError(f"the bundle has no {NETWORK}", where=bundle, mend=_EXPORT)
    for name in (METADATA, INFERENCE):
        if not (bundle / name).is_file():
            others = sorted(path.name for path in (bundle / "configs").glob("inference.*"))
            found = f"; there is {', '.join(others)}" if others and name == INFERENCE else ""
            raise SubmissionError(
                f"the bundle has no {name}{found}",
                where=bundle,
                mend="Only JSON is read: write the configuration as that file.",
            )


class _Config:
    """One JSON file of a bundle, with its references (`@name#part`) resolved and nothing evaluated."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            content = json.loads(path.read_text(encoding="utf-8-sig"))
        except (ValueError, OSError) as error:
            raise SubmissionError(
                "this is no JSON file that can be read", where=path, mend=str(error)
            ) from error
        self.content: dict[str, Any] = content if isinstance(content, dict) else {}

    def at(self, *keys: str) -> Any:
        """Return what lies at a path of keys, None where there is nothing."""
        found: Any = self.content
        for key in keys:
            found = self.plain(found)
            if isinstance(found, list):
                found = found[int(key)] if key.isdigit() and int(key) < len(found) else None
            else:
                found = found.get(key) if isinstance(found, Mapping) else None
        return self.plain(found)

    def plain(self, value: Any, depth: int = 9) -> Any:
        """Follow a reference to what it stands for.

        Raises:
            SubmissionError: it leads to an expression, or to nothing.
        """
        if not isinstance(value, str) or value[:1] not in ("@", "$", "%"):
            return value
        if value[0] != "@" or not depth:
            self.refuse(f"{value!r} is an expression, and none is evaluated", "Write its value there.")
        found: Any = self.content
        for key in value[1:].replace("::", "#").split("#"):
            found = found.get(key) if isinstance(found, Mapping) else None
        if found is None:
            self.refuse(f"{value!r} refers to nothing", "Write its value there.")
        return self.plain(found, depth - 1)

    def refuse(self, what: str, mend: str) -> NoReturn:
        raise SubmissionError(what, where=self.path, mend=mend)


def settings_of(metadata: _Config, inference: _Config) -> tuple[dict[str, Any], list[Label], list[str]]:
    """Return what the predict script does, and the labels and channels of a challenge.

    Raises:
        SubmissionError: see `from_monai`.
    """
    inputs, outputs = (_only(metadata, kind) for kind in ("inputs", "outputs"))
    channels = _channel_names(metadata, inputs, "image")
    classes = _channel_names(metadata, outputs, "channel")
    if len(classes) < 2:
        metadata.refuse(
            f"the network has {len(classes)} output channel(s); a label map is made of one per class",
            f"Export it with a channel for the background. Else: {_OWN_SCRIPT}",
        )
    if len(set(classes[1:])) < len(classes) - 1:
        metadata.refuse("two output channels have one name", "Name each in channel_def.")
    settings = {
        "channels": len(channels),
        "classes": len(classes),
        "steps": _steps(inference),
        "window": _window(inference),
        **_after(inference),
    }
    labels = [Label(value, name, DEFAULT_TOLERANCE_MM) for value, name in enumerate(classes) if value]
    return settings, labels, channels


def _only(metadata: _Config, kind: str) -> Mapping[str, Any]:
    found = metadata.at("network_data_format", kind)
    if not isinstance(found, Mapping) or len(found) != 1:
        names = ", ".join(found) if isinstance(found, Mapping) and found else "none"
        metadata.refuse(
            f"network_data_format has not one of {kind} but: {names}",
            f"A network of one image and one segmentation is supported. Else: {_OWN_SCRIPT}",
        )
    (facts,) = found.values()
    shape = facts.get("spatial_shape") if isinstance(facts, Mapping) else None
    if not isinstance(facts, Mapping) or facts.get("type") != "image" or len(shape or "") != _AXES:
        metadata.refuse(
            f"network_data_format.{kind} is not an image in three dimensions",
            f"Networks of volumes are supported. Else: {_OWN_SCRIPT}",
        )
    return facts


def _channel_names(metadata: _Config, facts: Mapping[str, Any], fallback: str) -> list[str]:
    count, named = facts.get("num_channels"), facts.get("channel_def") or {}
    if not isinstance(count, int) or count < 1:
        metadata.refuse(f"num_channels is {count!r}", "Write the number of channels there.")
    return [str(named.get(str(number)) or f"{fallback} {number}") for number in range(count)]


def _transforms(inference: _Config, name: str) -> list[tuple[str, dict[str, Any]]]:
    found = []
    for number, _ in enumerate(inference.at(name, "transforms") or ()):
        transform = inference.at(name, "transforms", str(number))
        if transform.get("_disabled_") is True:
            continue
        found.append((str(transform.get("_target_", "")).rpartition(".")[2], transform))
    return found


def _told(inference: _Config, name: str, transform: Mapping[str, Any], known: set[str]) -> dict[str, Any]:
    """Return what a transform says, refused by name where that is more than is understood."""
    told = {}
    for key, value in transform.items():
        if key in known:
            told[key] = None if key == "transform" else inference.plain(value)
        elif key not in _WITHOUT_MEANING:
            inference.refuse(
                f"{name} says {key!r}, which is not supported",
                f"Remove it if it does not matter. Else: {_OWN_SCRIPT}",
            )
    return told


def _unsupported(inference: _Config, name: str, stage: str, known: Mapping[str, object]) -> NoReturn:
    inference.refuse(
        f"{stage} has {name}, which is not supported",
        f"Supported are {', '.join([*_NOTHING, *known])}. Else: {_OWN_SCRIPT}",
    )


def _steps(inference: _Config) -> list[dict[str, Any]]:
    steps = []
    for name, transform in _transforms(inference, "preprocessing"):
        if name in _NOTHING:
            continue
        if name not in _BEFORE:
            _unsupported(inference, name, "preprocessing", _BEFORE)
        told = _told(inference, name, transform, _BEFORE[name])
        if told.pop("mode", "bilinear") != "bilinear" or told.pop("align_corners", False):
            inference.refuse(
                "Spacingd resamples in another way than bilinear", f'Say "bilinear". Else: {_OWN_SCRIPT}'
            )
        if name == "Spacingd":
            told["pixdim"] = _three(inference, told.get("pixdim"), "pixdim")
        steps.append({"step": name, **told})
    return steps


def _three(inference: _Config, value: Any, what: str) -> list[float]:
    numbers = value if isinstance(value, list) else [value] * _AXES
    if len(numbers) != _AXES or not all(isinstance(each, int | float) and each > 0 for each in numbers):
        inference.refuse(f"{what} is {value!r}", "Write three positive numbers.")
    return numbers


def _window(inference: _Config) -> dict[str, Any]:
    inferer = inference.at("inferer") or {}
    name = str(inferer.get("_target_", "none")).rpartition(".")[2]
    if name != "SlidingWindowInferer":
        inference.refuse(
            f"the inferer is {name}, which is not supported", f"SlidingWindowInferer is. Else: {_OWN_SCRIPT}"
        )
    mode = inference.plain(inferer.get("mode", "constant"))
    overlap = inference.plain(inferer.get("overlap", 0.25))
    if mode not in ("constant", "gaussian") or not isinstance(overlap, int | float) or not 0 <= overlap < 1:
        inference.refuse(
            f"the inferer's mode {mode!r} or overlap {overlap!r} is not supported",
            "Say constant or gaussian, and a number below 1.",
        )
    return {
        "roi": [
            int(size) for size in _three(inference, inference.plain(inferer.get("roi_size")), "roi_size")
        ],
        "overlap": overlap,
        "mode": mode,
    }


def _after(inference: _Config) -> dict[str, bool]:
    """Return whether classes are probabilities, and whether labels go back to the image instead of them."""
    order, softmax = [], False
    for name, transform in _transforms(inference, "postprocessing"):
        if name in _NOTHING:
            continue
        if name not in _AFTER:
            _unsupported(inference, name, "postprocessing", _AFTER)
        told = _told(inference, name, transform, _AFTER[name])
        softmax |= bool(told.get("softmax"))
        if name != "AsDiscreted" or told.get("argmax"):
            order.append(name)
    if "AsDiscreted" not in order:
        inference.refuse(
            "postprocessing has no AsDiscreted with argmax",
            f"Classes that exclude each other work. Else: {_OWN_SCRIPT}",
        )
    first = "Invertd" in order and order.index("AsDiscreted") < order.index("Invertd")
    return {"softmax": softmax, "labels_first": first}


_ABOUT = """
`predict.py` does what the bundle's `inference.json` says, as `settings.json` has it, without MONAI.
`challenge.toml` has the labels and channels of the network; set its tolerances and limits.
"""
