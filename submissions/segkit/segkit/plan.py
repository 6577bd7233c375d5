"""A plan: everything about a model but its weights, as data."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from segkit.errors import PlanError

Triple = tuple[int, int, int]
Sizes = tuple[int, ...]
"""A number for each axis of a network: three, or two where it looks at slices."""


_NETWORKS = ("PlainConvUNet", "ResidualEncoderUNet")
_AXES_OF_CONV = {"Conv2d": 2, "Conv3d": 3}

ABDOMINAL_ORGANS = (
    "liver",
    "right_kidney",
    "spleen",
    "pancreas",
    "aorta",
    "inferior_vena_cava",
    "right_adrenal_gland",
    "left_adrenal_gland",
    "gallbladder",
    "esophagus",
    "stomach",
    "duodenum",
    "left_kidney",
)
"""FLARE's organs, labels 1 to 13."""


@dataclass(frozen=True)
class NetworkPlan:
    """The shape of a U-Net of nnU-Net's; lists run from the finest stage to the coarsest.

    Attributes:
        convs_encoder: Convolutions of each stage of the encoder; its residual blocks where `residual`.
        residual: Whether the encoder is one of residual blocks behind a stem (ResidualEncoderUNet).
        stem: Channels of that stem; those of the first stage if None.
    """

    channels_in: int
    channels_out: int
    features: tuple[int, ...]
    kernels: tuple[Sizes, ...]
    strides: tuple[Sizes, ...]
    convs_encoder: tuple[int, ...]
    convs_decoder: tuple[int, ...]
    conv_bias: bool = True
    norm_eps: float = 1e-5
    norm_affine: bool = True
    leak: float = 0.01
    residual: bool = False
    stem: int | None = None

    @property
    def axes(self) -> int:
        """3, or 2 for a network of slices."""
        return len(self.kernels[0])

    @property
    def divisors(self) -> Sizes:
        """What the size of an input must be divisible by, for each axis."""
        return tuple(math.prod(along) for along in zip(*self.strides, strict=True))

    @property
    def divisor(self) -> Triple:
        """What the size of a volume must be divisible by (z, y, x); slices are taken one by one."""
        first, second, third = (1,) * (3 - self.axes) + self.divisors
        return (first, second, third)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> NetworkPlan:
        """Read what `dataclasses.asdict` made of a plan, from JSON."""
        network = dict(content)
        for key in ("kernels", "strides"):
            network[key] = tuple(tuple(item) for item in network[key])
        for key in ("features", "convs_encoder", "convs_decoder"):
            network[key] = tuple(network[key])
        return cls(**network)


@dataclass(frozen=True)
class Intensity:
    """CT normalisation: clip to two percentiles of the training foreground, then z-score."""

    clip_low_hu: float
    clip_high_hu: float
    mean_hu: float
    std_hu: float


@dataclass(frozen=True)
class Resampling:
    """How nnU-Net resampled in training; `segkit.reference` follows it, the fast path is linear throughout.

    Attributes:
        order: Order of the splines, 1 is linear.
        order_z: Order between slices where these are resampled apart.
        separate_z: Whether slices are resampled apart; None where anisotropy of more than 3 decides.
    """

    order: int = 1
    order_z: int = 1
    separate_z: bool | None = False


@dataclass(frozen=True)
class Plan:
    """A model's grid, intensities, labels and network.

    Attributes:
        spacing_mm: The network's grid (z, y, x).
        patch: Size of a tile in voxels of that grid (z, y, x).
        intensity: The normalisation.
        labels: Name of each output channel; the first is the background.
        network: The network.
        orientation: "canonical" if the model was trained on volumes turned to LPS, "stored" if on
            arrays as they lie in their files (what nnU-Net does).
        image_resampling: How images were resampled in training.
        logits_resampling: How nnU-Net resamples this model's logits.
        source: Where the weights come from, for people.
    """

    spacing_mm: tuple[float, float, float]
    patch: Triple
    intensity: Intensity
    labels: tuple[str, ...]
    network: NetworkPlan
    orientation: Literal["canonical", "stored"] = "canonical"
    image_resampling: Resampling = Resampling()
    logits_resampling: Resampling = Resampling()
    source: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.labels) != self.network.channels_out:
            raise PlanError(
                f"the plan names {len(self.labels)} labels for {self.network.channels_out} outputs."
            )
        if any(size % divisor for size, divisor in zip(self.patch, self.network.divisor, strict=True)):
            raise PlanError(
                f"a patch of {self.patch} cannot be halved as often as strides {self.network.divisor} ask."
            )
        if min(self.spacing_mm) <= 0 or self.intensity.std_hu < 0:
            raise PlanError("spacing must be positive and the standard deviation not negative.")

    def to_json(self) -> str:
        """The plan as JSON text."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str = "plans.json") -> Plan:
        """Read what `to_json` wrote.

        Raises:
            PlanError: The text is no such plan.
        """
        try:
            data = json.loads(text)
            network = NetworkPlan.from_dict(data.pop("network"))
            for key in ("spacing_mm", "patch", "labels"):
                data[key] = tuple(data[key])
            for key in ("image_resampling", "logits_resampling"):
                data[key] = Resampling(**data.get(key, {}))
            return cls(network=network, intensity=Intensity(**data.pop("intensity")), **data)
        except (KeyError, TypeError, ValueError) as error:
            raise PlanError(
                f"{where} is no segkit plan ({error}); make one with python -m segkit.convert."
            ) from error


def from_nnunet(
    plans: dict[str, Any],
    dataset: dict[str, Any],
    configuration: str,
    orientation: Literal["canonical", "stored"],
) -> Plan:
    """The plan of an nnU-Net v2 model.

    Reads plans of 2.3 and later ("architecture") and of 2.0 to 2.2 ("UNet_base_num_features").

    Args:
        plans: nnU-Net's plans.json.
        dataset: nnU-Net's dataset.json.
        configuration: Name of the configuration, such as 3d_fullres.
        orientation: What the training did; nnU-Net by itself leaves arrays as stored.

    Raises:
        PlanError: The model is none that segkit runs: not 3-D, no PlainConvUNet, another normalisation,
            several channels, regions, or transposed axes.
    """
    settings = inherited(plans, configuration)
    _refuse(len(settings["patch_size"]) != 3, f"configuration {configuration} is not three-dimensional")
    _refuse(
        settings["normalization_schemes"] != ["CTNormalization"],
        "segkit knows CTNormalization of one channel only",
    )
    _refuse(list(plans["transpose_forward"]) != [0, 1, 2], "the plans transpose the axes")
    _refuse(settings.get("previous_stage") is not None, "segkit does not run cascades")
    labels = dataset["labels"]
    _refuse(
        any(isinstance(value, list) for value in labels.values()), "segkit does not do region-based labels"
    )
    values = {int(value): name for name, value in labels.items() if name != "ignore"}
    _refuse(sorted(values) != list(range(len(values))), f"label values {sorted(values)} are not 0, 1, 2, ...")
    intensity = plans["foreground_intensity_properties_per_channel"]["0"]
    return Plan(
        spacing_mm=_three(settings["spacing"]),
        patch=_three(settings["patch_size"]),
        intensity=Intensity(
            clip_low_hu=intensity["percentile_00_5"],
            clip_high_hu=intensity["percentile_99_5"],
            mean_hu=intensity["mean"],
            std_hu=intensity["std"],
        ),
        labels=tuple(values[value] for value in sorted(values)),
        image_resampling=_resampling_of(settings, "resampling_fn_data"),
        logits_resampling=_resampling_of(settings, "resampling_fn_probabilities"),
        network=network_of(settings, len(values)),
        orientation=orientation,
        source={
            "plans": plans["plans_name"],
            "configuration": configuration,
            "dataset": plans["dataset_name"],
        },
    )


def load_plan(path: Path) -> Plan:
    """Read a plan from a file."""
    if not path.is_file():
        raise PlanError(f"{path} is missing; a model folder holds plans.json and model.safetensors.")
    return Plan.from_json(path.read_text(encoding="utf-8"), where=str(path))


def inherited(plans: Mapping[str, Any], configuration: str) -> dict[str, Any]:
    """A configuration of nnU-Net's plans, with what it inherits from others.

    Raises:
        PlanError: There is no such configuration.
    """
    known = plans["configurations"]
    _refuse(configuration not in known, f"no configuration {configuration} among {sorted(known)}")
    settings = known[configuration]
    if "inherits_from" in settings:
        settings = {**inherited(plans, settings["inherits_from"]), **settings}
    return settings


def network_of(settings: Mapping[str, Any], channels_out: int, channels_in: int = 1) -> NetworkPlan:
    """The network of a configuration of nnU-Net's plans.

    Args:
        settings: The configuration, with what it inherits.
        channels_out: Outputs: labels with the background, or regions.
        channels_in: Image channels, and one for each label of the stage before.

    Raises:
        PlanError: It is no PlainConvUNet or ResidualEncoderUNet of the kind that segkit runs.
    """
    if "architecture" not in settings:
        return _network_of_old_plans(settings, channels_out, channels_in)
    return network_of_architecture(settings["architecture"], channels_out, channels_in)


def network_of_architecture(
    architecture: Mapping[str, Any], channels_out: int, channels_in: int = 1
) -> NetworkPlan:
    """The network of an "architecture" of nnU-Net's plans of 2.3 and later.

    Args:
        architecture: Its "network_class_name" and "arch_kwargs".
        channels_out: Outputs: labels with the background, or regions.
        channels_in: Image channels, and one for each label of the stage before.

    Raises:
        PlanError: It is no PlainConvUNet or ResidualEncoderUNet of the kind that segkit runs.
    """
    class_name = architecture["network_class_name"].rsplit(".", 1)[-1]
    _refuse(
        class_name not in _NETWORKS,
        f"the network is a {class_name}, and segkit runs {' and '.join(_NETWORKS)}; train with "
        "nnU-Net's default planner, or one of nnUNetPlannerResEncM, L and XL",
    )
    numbers = architecture["arch_kwargs"]
    conv_op = str(numbers["conv_op"]).rsplit(".", 1)[-1]
    _refuse(
        conv_op not in _AXES_OF_CONV,
        f"the network has {conv_op}, and segkit runs {' and '.join(_AXES_OF_CONV)}",
    )
    norm_op, nonlin = str(numbers["norm_op"]), str(numbers["nonlin"]).rsplit(".", 1)[-1]
    _refuse("InstanceNorm" not in norm_op, f"the network has {norm_op}, and segkit runs InstanceNorm")
    _refuse(
        nonlin not in ("LeakyReLU", "ReLU"), f"the network has {nonlin}, and segkit runs LeakyReLU and ReLU"
    )
    _refuse(bool(numbers.get("nonlin_first")), "the network puts the nonlinearity before the norm")
    block = str(numbers.get("block") or "BasicBlockD")
    _refuse(not block.endswith("BasicBlockD"), f"the network has blocks {block}, and segkit runs BasicBlockD")
    residual = class_name == "ResidualEncoderUNet"
    axes = _AXES_OF_CONV[conv_op]
    stages = numbers["n_stages"]
    norm = numbers.get("norm_op_kwargs") or {}
    slope = (numbers.get("nonlin_kwargs") or {}).get("negative_slope", 0.01)
    return NetworkPlan(
        channels_in=channels_in,
        channels_out=channels_out,
        features=tuple(numbers["features_per_stage"]),
        kernels=_sizes(numbers["kernel_sizes"], axes, stages),
        strides=_sizes(numbers["strides"], axes, stages),
        convs_encoder=_per_stage(numbers["n_blocks_per_stage" if residual else "n_conv_per_stage"], stages),
        convs_decoder=_per_stage(numbers["n_conv_per_stage_decoder"], stages - 1),
        conv_bias=numbers["conv_bias"],
        norm_eps=norm.get("eps", 1e-5),
        norm_affine=norm.get("affine", False),
        leak=slope if nonlin == "LeakyReLU" else 0.0,
        residual=residual,
        stem=numbers.get("stem_channels"),
    )


def _network_of_old_plans(settings: Mapping[str, Any], channels_out: int, channels_in: int) -> NetworkPlan:
    """The network of plans of nnU-Net 2.0 to 2.2."""
    class_name = settings.get("UNet_class_name", "unknown")
    _refuse(class_name != "PlainConvUNet", f"the network is a {class_name}, and segkit runs PlainConvUNet")
    stages = len(settings["n_conv_per_stage_encoder"])
    base, most = settings["UNet_base_num_features"], settings["unet_max_num_features"]
    axes = len(settings["patch_size"])
    return NetworkPlan(
        channels_in=channels_in,
        channels_out=channels_out,
        features=tuple(min(base * 2**stage, most) for stage in range(stages)),
        kernels=_sizes(settings["conv_kernel_sizes"], axes, stages),
        strides=_sizes(settings["pool_op_kernel_sizes"], axes, stages),
        convs_encoder=tuple(settings["n_conv_per_stage_encoder"]),
        convs_decoder=tuple(settings["n_conv_per_stage_decoder"]),
    )


def _resampling_of(settings: dict[str, Any], function: str) -> Resampling:
    numbers = settings.get(f"{function}_kwargs") or {}
    if settings.get(function) != "resample_data_or_seg_to_shape":
        return Resampling()
    return Resampling(
        order=numbers.get("order", 3),
        order_z=numbers.get("order_z", 0),
        separate_z=numbers.get("force_separate_z", False),
    )


def _refuse(condition: bool, reason: str) -> None:
    if condition:
        raise PlanError(f"this nnU-Net model cannot be converted: {reason}.")


def _three(values: Sequence[Any]) -> tuple[Any, Any, Any]:
    return (values[0], values[1], values[2])


def _sizes(values: int | Sequence[Any], axes: int, stages: int) -> tuple[Sizes, ...]:
    per_stage = [values] * stages if isinstance(values, int) else values
    return tuple((item,) * axes if isinstance(item, int) else tuple(item) for item in per_stage)


def _per_stage(value: int | list[int], stages: int) -> tuple[int, ...]:
    return (value,) * stages if isinstance(value, int) else tuple(value)
