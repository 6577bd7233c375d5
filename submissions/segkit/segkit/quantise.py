"""Quantise a model's network to 8-bit integers, and keep the result only if its Dice holds.

    python -m segkit.quantise weights/organs_tumour --data phantoms --calibrate 8 --compare 8 --alone

NNCF measures the range of every activation on tiles of some CTs; then the quantised network and the
original one segment other CTs, and both are compared with the reference labels. What was measured is
written beside the network. With `--alone` the weights in float16 are removed then: half of the size, and what
runs in float32 is read back from the 8-bit form (`segkit.restore`), which is compared, too. Needs nncf and
torch, which running the result does not.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import openvino

from segkit.body import find_body
from segkit.errors import ImageError
from segkit.export import export, smallest_input
from segkit.forms import FLOAT_IR
from segkit.image import read_ct, read_labels
from segkit.int8 import MOST_DICE_LOSS, dice_per_label, settle_candidate, write_candidate
from segkit.ir import to_openvino
from segkit.log import log
from segkit.model import WEIGHTS_NAME, network_of_ir
from segkit.openvino_engine import OpenVINOEngine
from segkit.plan import Plan, load_plan
from segkit.predict import Segmenter, Settings, normaliser
from segkit.program import run_program
from segkit.resample import grid_shape, resample_image
from segkit.windows import tiles

REPORT = "int8.json"
_TILES_PER_CT = 3


@dataclass(frozen=True)
class Comparison:
    """What quantising did to the labels of some CTs.

    Attributes:
        calibrated_on: Cases whose tiles set the ranges.
        compared_on: Cases that were segmented both ways.
        dice_f32: Mean Dice of the original network over labels and cases where the label is present.
        dice_int8: That of the quantised one.
        dice_between: Mean Dice of the one against the other.
        dice_restored: Mean Dice of float32 with the weights read back from the quantised network.
        nncf: Version of NNCF.
    """

    calibrated_on: list[str]
    compared_on: list[str]
    dice_f32: float
    dice_int8: float
    dice_between: float
    dice_restored: float
    nncf: str

    @property
    def holds(self) -> bool:
        """Whether the loss of Dice is small enough, in 8 bits and in float32 with weights of 8 bits."""
        return self.dice_f32 - min(self.dice_int8, self.dice_restored) < MOST_DICE_LOSS


def quantise(folder: Path, data: Path, *, calibrate: int, compare: int) -> Comparison:
    """Quantise the network of a model folder; the IR is written only if Dice holds.

    Args:
        folder: The model folder; an IR is made in it first.
        data: Holds imagesTr/<case>_0000.nii.gz and labelsTr/<case>.nii.gz.
        calibrate: How many cases, from the first on, set the ranges.
        compare: How many cases, from the last on, are compared.

    Raises:
        SegkitError: A file is missing or damaged, or there are too few cases for both.
    """
    import nncf

    plan = load_plan(folder / "plans.json")
    cases = sorted(
        path.name.removesuffix("_0000.nii.gz") for path in (data / "imagesTr").glob("*_0000.nii.gz")
    )
    if len(cases) < calibrate + compare:
        raise ImageError(f"{data / 'imagesTr'} has {len(cases)} cases; {calibrate + compare} are needed.")
    first, last = cases[:calibrate], cases[len(cases) - compare :]
    float_ir = export(folder)
    samples = [tile for case in first for tile in calibration_tiles(plan, image_of(data, case))]
    log.info(f"calibrating on {len(samples)} tiles of {len(first)} cases")
    candidate = write_candidate(folder, [tile[None, None] for tile in samples])
    restored = folder / "candidate-restored.xml"
    network = network_of_ir(plan, candidate)
    openvino.save_model(to_openvino(network, smallest_input(plan)), restored)
    comparison = compared(
        plan,
        [OpenVINOEngine(path) for path in (float_ir, candidate, restored)],
        data,
        last,
        calibrated_on=first,
        nncf=nncf.__version__,
    )
    (folder / REPORT).write_text(json.dumps(asdict(comparison), indent=2) + "\n")
    for part in (restored, restored.with_suffix(".bin")):
        part.unlink()
    settle_candidate(folder, kept=comparison.holds)
    return comparison


def calibration_tiles(plan: Plan, image: Path) -> list[np.ndarray]:
    """A few tiles of a CT as the network sees them, spread over the body."""
    ct = read_ct(image)
    body = find_body(ct.array, ct.spacing_mm)
    if body is None:
        return []
    array = ct.array[body.box]
    volume = resample_image(
        array, grid_shape(array.shape, ct.spacing_mm, plan.spacing_mm), normaliser(plan.intensity)
    )
    volume = np.pad(
        volume, [(0, max(0, tile - size)) for size, tile in zip(volume.shape, plan.patch, strict=True)]
    )
    places = list(tiles(volume.shape, plan.patch, 0.5))
    return [volume[place] for place in places[:: max(1, len(places) // _TILES_PER_CT)]]


def compared(
    plan: Plan,
    engines: Sequence[OpenVINOEngine],
    data: Path,
    cases: Sequence[str],
    *,
    calibrated_on: Sequence[str],
    nncf: str,
) -> Comparison:
    """Segment cases with three engines, the original, its 8-bit form and what that restores, and compare."""
    against_reference: tuple[list[float], ...] = ([], [], [])
    between: list[float] = []
    segmenters = [Segmenter(plan, engine, Settings()) for engine in engines]
    for case in cases:
        ct = read_ct(image_of(data, case))
        path = data / "labelsTr" / f"{case}.nii.gz"
        if not path.is_file():
            raise ImageError(f"{path} is missing; the comparison needs the label of every case.")
        reference = ct.orientation.to_canonical(read_labels(path))
        maps = [segmenter.segment(ct) for segmenter in segmenters]
        for scores, labels in zip(against_reference, maps, strict=True):
            scores += dice_per_label(labels, reference)
        between += dice_per_label(maps[1], maps[0])
        log.info(f"compared {case}")
    return Comparison(
        calibrated_on=list(calibrated_on),
        compared_on=list(cases),
        dice_f32=float(np.mean(against_reference[0])),
        dice_int8=float(np.mean(against_reference[1])),
        dice_between=float(np.mean(between)),
        dice_restored=float(np.mean(against_reference[2])),
        nncf=nncf,
    )


def image_of(data: Path, case: str) -> Path:
    """The training image of a case."""
    return data / "imagesTr" / f"{case}_0000.nii.gz"


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="quantise a model folder's network to 8 bits")
    parser.add_argument("folder", type=Path, help="model folder")
    parser.add_argument("--data", type=Path, required=True, help="folder with imagesTr and labelsTr")
    parser.add_argument("--calibrate", type=int, default=8, help="cases that set the ranges")
    parser.add_argument("--compare", type=int, default=8, help="other cases that are segmented both ways")
    parser.add_argument(
        "--alone", action="store_true", help="remove the float16 weights: the 8-bit form holds them, too"
    )
    options = parser.parse_args()

    def work() -> int:
        result = quantise(options.folder, options.data, calibrate=options.calibrate, compare=options.compare)
        verdict = "kept" if result.holds else f"not kept: the loss is {MOST_DICE_LOSS} or more"
        log.info(
            f"Dice {result.dice_f32:.4f} in float32, {result.dice_int8:.4f} in int8, "
            f"{result.dice_between:.4f} between the two, {result.dice_restored:.4f} in float32 with the "
            f"weights of int8; {verdict}"
        )
        if options.alone and result.holds:
            for name in (WEIGHTS_NAME, FLOAT_IR, Path(FLOAT_IR).with_suffix(".bin").name):
                (options.folder / name).unlink(missing_ok=True)
        return 0 if result.holds else 1

    return run_program(work)


if __name__ == "__main__":
    sys.exit(main())
