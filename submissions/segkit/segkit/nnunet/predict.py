"""A bundle run on one case: nnU-Net's steps, in bounded memory, without nnU-Net."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from segkit.body import find_body
from segkit.engine import Network, open_network
from segkit.errors import ImageError, SegkitError
from segkit.forms import FLOAT_IR, INT8_IR
from segkit.image import CT
from segkit.nnunet.bundle import Bundle, Configuration, fold_folder, load_bundle
from segkit.nnunet.largest import keep_largest
from segkit.nnunet.merge import Grid, grid_of, merge
from segkit.nnunet.sliding import Batch, folds_summed, mirrored, sigmoid, softmax
from segkit.nnunet.steps import Case, box_of, laid_out, network_grid, network_image, previous_labels
from segkit.predict import grid_in_memory
from segkit.profile import Profile
from segkit.windows import Box

if TYPE_CHECKING:
    from torch import nn

Averaged = Literal["logits", "probabilities"]
Resampled = Literal["as_trained", "linear"]


@dataclass(frozen=True)
class EnsembleSettings:
    """How a bundle is run. The defaults are nnU-Net's, but for mirroring, which takes eight times as long.

    Attributes:
        step: Largest distance of neighbouring tiles as a fraction of the tile.
        mirror: Also run each tile mirrored, along all axes that training mirrored.
        folds: What is averaged over the folds of a configuration: "logits" as nnU-Net v2 does, or
            "probabilities" as v1 did. Between configurations it is probabilities in both.
        images: Resampled "as_trained", by cubic splines as a rule, or "linear", which is much faster.
        postprocess: Keep only the largest parts of labels for which cross-validation found it better.
        crop_to_body: Leave the air around the patient out; for CT alone.
        logits_limit_bytes: Most memory for the sums of one configuration. A volume that would need more is
            run on a coarser grid.
    """

    step: float = 0.5
    mirror: bool = False
    folds: Averaged = "logits"
    images: Resampled = "as_trained"
    postprocess: bool = True
    crop_to_body: bool = False
    logits_limit_bytes: int = 4 * 2**30

    def __post_init__(self) -> None:
        for name, choices in (("folds", get_args(Averaged)), ("images", get_args(Resampled))):
            if getattr(self, name) not in choices:
                raise SegkitError(f"{name} is {getattr(self, name)!r}; it must be {' or '.join(choices)}.")


class Ensemble:
    """A bundle ready to segment one case after another."""

    def __init__(
        self,
        folder: Path,
        settings: EnsembleSettings | None = None,
        *,
        engine: str = "fastest",
        profile: Profile | None = None,
        networks: Callable[[str, str], Batch] | None = None,
    ):
        """Take a bundle; networks are opened when their turn comes.

        Args:
            folder: The bundle.
            settings: How to run it; the defaults if None.
            engine: As `segkit.engine.open_network` takes it.
            profile: Takes the time of each stage.
            networks: Opens the network of a configuration's fold; that of the folder if None.
        """
        self.bundle = load_bundle(folder)
        self.settings = settings or EnsembleSettings()
        self.profile = profile or Profile()
        self._open = networks or (lambda name, fold: open_fold(folder, self.bundle, name, fold, engine))

    def segment(self, ct: CT) -> np.ndarray:
        """The label map of a case.

        Args:
            ct: Its first channel, in canonical orientation, with the others in `more_channels`.

        Returns:
            uint8 array of the image's shape; all zero where the image is.

        Raises:
            ImageError: The case has more or fewer channels than the bundle.
        """
        given = 1 + len(ct.more_channels)
        if given != len(self.bundle.channels):
            raise ImageError(
                f"the case has {given} channels, and the model wants {len(self.bundle.channels)} "
                f"({', '.join(self.bundle.channels)})."
            )
        labels = np.zeros(ct.array.shape, dtype=np.uint8)
        channels, target, spacing_mm = laid_out(ct, labels, self.bundle.orientation)
        box = box_of(channels)
        if box is not None and self.settings.crop_to_body:
            box = self._body(channels[0], spacing_mm)
        if box is None:
            return labels
        case = Case(tuple(channels), spacing_mm, box)
        self._label(case, self.bundle.ensemble, target)
        if self.settings.postprocess and self.bundle.postprocessing:
            with self.profile.stage("largest parts"):
                keep_largest(target, self.bundle.postprocessing)
        return labels

    def _label(self, case: Case, names: tuple[str, ...], target: np.ndarray) -> None:
        """Fill the box of `target` with the labels of some configurations, averaged."""
        grids = [self._run(case, name) for name in names]
        with self.profile.stage("labels"):
            merge(
                grids,
                target[case.box],
                self.bundle.regions_order,
                probabilities=self.settings.folds == "probabilities",
            )

    def _run(self, case: Case, name: str) -> Grid:
        """The mean of a configuration's folds on its own grid."""
        configuration = self.bundle.configurations[name]
        before = None
        if configuration.previous_stage:
            before = np.zeros(case.shape, dtype=np.uint8)
            self._label(case, (configuration.previous_stage,), before)
        wanted, have, want = network_grid(case, configuration)
        shape = grid_in_memory(
            wanted, configuration.tile, self.bundle.outputs, self.settings.logits_limit_bytes
        )
        with self.profile.stage("resample"):
            image = network_image(case, configuration, linear=self.settings.images == "linear", shape=shape)
            if before is not None:
                more = previous_labels(case, before, configuration, self.bundle.foreground, shape)
                image = np.concatenate([image, more])
        with self.profile.stage("network"):
            values = folds_summed(
                image,
                networks=self._folds(name, configuration),
                count=len(configuration.folds),
                outputs=self.bundle.outputs,
                tile=configuration.tile,
                axes=configuration.network.axes,
                step=self.settings.step,
            )
        return grid_of(values, configuration.transpose, (want, have), configuration.logits_resampling)

    def _folds(self, name: str, configuration: Configuration) -> Iterator[Batch]:
        axes = configuration.mirror_axes if self.settings.mirror else ()
        for fold in configuration.folds:
            network = mirrored(self._open(name, fold), axes)
            yield self._as_probabilities(network) if self.settings.folds == "probabilities" else network

    def _as_probabilities(self, network: Batch) -> Batch:
        if self.bundle.regions_order:
            return lambda tiles: sigmoid(network(tiles))
        return lambda tiles: softmax(network(tiles), axis=1)

    def _body(self, array: np.ndarray, spacing_mm: tuple[float, float, float]) -> Box | None:
        with self.profile.stage("find body"):
            body = find_body(array, spacing_mm)
        return None if body is None else body.box


def open_fold(folder: Path, bundle: Bundle, configuration: str, fold: str, engine: str) -> Batch:
    """What runs the network of a fold on a batch of tiles.

    Raises:
        PlanError: What the engine runs is missing or damaged.
    """
    place = fold_folder(folder, configuration, fold)

    def in_torch() -> nn.Module:
        from segkit.nnunet.networks import load_network

        return load_network(place, bundle.configurations[configuration].network)

    if engine == "f32" and not (place / FLOAT_IR).is_file():
        engine = "torch"  # the same numbers, where no image's build has made the other form
    return open_network(Network(in_torch, place / FLOAT_IR, place / INT8_IR), engine).batch
