"""8-bit integers for every network of a bundle, and a certificate of what they lose.

    python -m segkit.nnunet.quantise submissions/mine/weights --data DATA [--calibrate 4] [--compare 4]

NNCF measures the range of every activation on tiles of some cases; then the bundle segments other cases both
ways, and both are compared with the reference labels. The integers are kept only if the mean Dice loses less
than 0.002; what was measured, label by label, is in int8.json beside the bundle either way. Needs nncf and
torch.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from segkit.cases import IMAGE_ENDING, LABEL_ENDING, read_channels
from segkit.errors import ImageError, SegkitError
from segkit.files import write_whole
from segkit.image import read_labels
from segkit.int8 import MOST_DICE_LOSS, candidate_of, dice, settle_candidate, write_candidate
from segkit.log import log
from segkit.nnunet.bundle import Bundle, load_bundle
from segkit.nnunet.networks import every_fold, export_fold
from segkit.nnunet.predict import Ensemble, EnsembleSettings, open_fold
from segkit.nnunet.sliding import Batch
from segkit.openvino_engine import OpenVINOEngine
from segkit.program import run_program

CERTIFICATE = "int8.json"
_TILES_PER_CASE = 4


@dataclass(frozen=True)
class Certificate:
    """What 8-bit integers lose.

    Attributes:
        calibrated_on: Cases whose tiles set the ranges.
        compared_on: Cases that were segmented both ways.
        dice_f32, dice_int8: By label, the mean Dice over the cases that have it.
        mean_f32, mean_int8: The mean of all of these.
        voxels_alike: Share of voxels in which both ways agree.
        kept: Whether the loss of the mean is below the most that is allowed.
        nncf: Version of NNCF.
    """

    calibrated_on: list[str]
    compared_on: list[str]
    dice_f32: dict[str, float]
    dice_int8: dict[str, float]
    mean_f32: float
    mean_int8: float
    voxels_alike: float
    kept: bool
    nncf: str


def quantise(folder: Path, data: Path, *, calibrate: int = 4, compare: int = 4) -> Certificate:
    """Quantise every network of a bundle; the integers are kept only if Dice holds.

    Args:
        folder: The bundle; OpenVINO's form of its networks is made in it first.
        data: Holds imagesTr/<case>_0000.nii.gz, further channels, and labelsTr/<case>.nii.gz; Val or Ts in
            place of Tr will do.
        calibrate: How many cases, from the first on, set the ranges.
        compare: How many others, from the last on, are compared.

    Raises:
        SegkitError: A file is missing or damaged, or there are too few cases for both.
    """
    import nncf

    bundle = load_bundle(folder)
    images, labels = _split(data)
    cases = sorted(path.name.removesuffix(IMAGE_ENDING) for path in images.glob(f"*{IMAGE_ENDING}"))
    if calibrate < 1 or compare < 1 or len(cases) < calibrate + compare:
        raise ImageError(
            f"{images} has {len(cases)} cases; {calibrate} + {compare} are needed, one each at least."
        )
    for name, _, place in every_fold(folder, bundle):
        export_fold(place, bundle, name)
    tiles = calibration_tiles(
        folder, bundle, [images / f"{case}{IMAGE_ENDING}" for case in cases[:calibrate]]
    )
    for name, fold, place in every_fold(folder, bundle):
        log.info(f"{name}, fold {fold}: calibrating on {len(tiles[name])} tiles")
        write_candidate(place, tiles[name])
    certificate = _compared(
        folder, bundle, images, labels, cases[:calibrate], cases[-compare:], nncf.__version__
    )
    write_whole(folder / CERTIFICATE, json.dumps(asdict(certificate), indent=1) + "\n")
    for _, _, place in every_fold(folder, bundle):
        settle_candidate(place, kept=certificate.kept)
    return certificate


def calibration_tiles(folder: Path, bundle: Bundle, images: Sequence[Path]) -> dict[str, list[np.ndarray]]:
    """For each configuration some tiles (1, channel, ...) as its networks see them.

    The first fold of each runs for real; the others give zeros, which leave the labels that a cascade needs
    as they are.
    """
    seen: dict[str, list[np.ndarray]] = defaultdict(list)

    def recording(name: str, fold: str) -> Batch:
        outputs = bundle.outputs
        if fold != bundle.configurations[name].folds[0]:
            return lambda tiles: np.zeros((len(tiles), outputs, *tiles.shape[2:]), dtype=np.float32)
        network = open_fold(folder, bundle, name, fold, "f32")

        def run(tiles: np.ndarray) -> np.ndarray:
            seen[name].append(tiles[len(tiles) // 2 :][:1].copy())
            return network(tiles)

        return run

    ensemble = Ensemble(
        folder, EnsembleSettings(images="linear", step=1.0, postprocess=False), networks=recording
    )
    chosen: dict[str, list[np.ndarray]] = defaultdict(list)
    for path in images:
        seen.clear()
        ensemble.segment(read_channels(path))
        for name, tiles in seen.items():
            chosen[name] += tiles[:: max(1, len(tiles) // _TILES_PER_CASE)]
    return chosen


def _compared(
    folder: Path,
    bundle: Bundle,
    images: Path,
    labels: Path,
    calibrated_on: list[str],
    cases: list[str],
    nncf: str,
) -> Certificate:
    def candidate(name: str, fold: str) -> Batch:
        place = next(
            there for each, number, there in every_fold(folder, bundle) if (each, number) == (name, fold)
        )
        return OpenVINOEngine(candidate_of(place)).batch

    ways = Ensemble(folder, engine="f32"), Ensemble(folder, networks=candidate)
    scores: tuple[dict[int, list[float]], dict[int, list[float]]] = (defaultdict(list), defaultdict(list))
    alike = []
    for case in cases:
        ct = read_channels(images / f"{case}{IMAGE_ENDING}")
        path = labels / f"{case}{LABEL_ENDING}"
        if not path.is_file():
            raise ImageError(f"{path} is missing; the comparison needs the label of every case.")
        reference = ct.orientation.to_canonical(read_labels(path))
        found = [way.segment(ct) for way in ways]
        for label_map, score in zip(found, scores, strict=True):
            for value in bundle.foreground:
                if (reference == value).any():
                    score[value].append(dice(label_map == value, reference == value))
        alike.append(float((found[0] == found[1]).mean()))
        log.info(f"{case}: {100 * alike[-1]:.2f} % of voxels alike")
    f32, int8 = (
        {_name(bundle, value): float(np.mean(each)) for value, each in score.items()} for score in scores
    )
    means = [float(np.mean(list(each.values()))) if each else 0.0 for each in (f32, int8)]
    return Certificate(
        calibrated_on,
        cases,
        _rounded(f32),
        _rounded(int8),
        round(means[0], 5),
        round(means[1], 5),
        round(float(np.mean(alike)), 6),
        means[0] - means[1] < MOST_DICE_LOSS,
        nncf,
    )


def _rounded(scores: dict[str, float]) -> dict[str, float]:
    return {name: round(score, 5) for name, score in scores.items()}


def _name(bundle: Bundle, value: int) -> str:
    """What a value is called: that of a label alone, or the value where regions share it."""
    return next((name for name, told in bundle.labels.items() if told == value), f"value {value}")


def _split(data: Path) -> tuple[Path, Path]:
    for split in ("Tr", "Val", "Ts"):
        if (data / f"images{split}").is_dir():
            return data / f"images{split}", data / f"labels{split}"
    raise SegkitError(f"{data} has no imagesTr, imagesVal or imagesTs; give the folder that holds one.")


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="quantise a bundle's networks to 8 bits")
    parser.add_argument("folder", type=Path, help="the bundle, such as submissions/TEAM/weights")
    parser.add_argument("--data", type=Path, required=True, help="folder with imagesTr and labelsTr")
    parser.add_argument("--calibrate", type=int, default=4, help="cases that set the ranges")
    parser.add_argument("--compare", type=int, default=4, help="other cases that are segmented both ways")
    options = parser.parse_args()

    def work() -> int:
        told = quantise(options.folder, options.data, calibrate=options.calibrate, compare=options.compare)
        verdict = "kept" if told.kept else f"not kept: the loss is {MOST_DICE_LOSS} or more"
        log.info(
            f"Dice {told.mean_f32:.4f} in float32, {told.mean_int8:.4f} in int8, "
            f"{100 * told.voxels_alike:.2f} % of voxels alike; {verdict}"
        )
        return 0 if told.kept else 1

    return run_program(work)


if __name__ == "__main__":
    sys.exit(main())
