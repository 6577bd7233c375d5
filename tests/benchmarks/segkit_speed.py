"""How fast segkit is, beside nnU-Net's own command, and what each setting costs and gains.

    python tests/benchmarks/segkit_speed.py stock    MODEL --inputs DIR [--rounds 2]
    python tests/benchmarks/segkit_speed.py settings MODEL --data DIR [--rounds 3]

MODEL is a model folder with its IRs (`python -m segkit.export`, `python -m segkit.quantise`). Runs are
interleaved, so that a busy machine slows all of them. `stock` runs both commands as a user would, on
CTs turned to LPS; `settings` runs in one process over imagesVal and labelsVal of DIR. Needs the
training environment.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from segkit import CT, Segmenter, Settings, load_engine, read_ct, write_labels
from segkit.cpu import usable_cpus
from segkit.int8 import dice_per_label
from segkit.log import log, show
from segkit.model import load_model
from segkit.reference import Reference
from segkit.torch_engine import TorchEngine

from evaluator import label_table, score_folder

SUBMISSIONS = Path(__file__).resolve().parents[2] / "submissions"
EXACT = {"engine": "f32", "step": 0.5, "tile_voxels": 0}
ONE_BY_ONE = {
    "torch": {"engine": "torch"},
    "OpenVINO, float32 (the yardstick)": {},
    "bfloat16": {"engine": "bf16"},
    "int8": {"engine": "int8"},
    "no crop to the body": {"crop_to_body": False},
    "air tiles run, too": {"skip_air_tiles": False, "crop_to_body": False},
    "step 0.8": {"step": 0.8},
    "wide tiles, 2 million voxels": {"tile_voxels": 2_000_000},
    "wide tiles, 4 million voxels": {"tile_voxels": 4_000_000},
    "wide tiles, 2 million, step 0.8": {"tile_voxels": 2_000_000, "step": 0.8},
    "bfloat16, wide tiles, 2 million": {"engine": "bf16", "tile_voxels": 2_000_000},
    "int8, wide tiles, 2 million": {"engine": "int8", "tile_voxels": 2_000_000},
    "int8, wide tiles, 2 million, step 0.8": {"engine": "int8", "tile_voxels": 2_000_000, "step": 0.8},
}


def main() -> None:
    """Run one of the two."""
    show()
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=["stock", "settings"])
    parser.add_argument("model", type=Path)
    parser.add_argument("--inputs", type=Path, help="stock: CTs, *_0000.nii.gz")
    parser.add_argument("--data", type=Path, help="settings: folder with imagesVal and labelsVal")
    parser.add_argument("--challenge", default="flare23", help="settings: table of labels to score")
    parser.add_argument("--task", default="organs_tumour", help="stock: task of small_unet")
    parser.add_argument("--cases", type=int, help="settings: only the first so many")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="stock: leave what was predicted here")
    options = parser.parse_args()
    (stock if options.what == "stock" else settings)(options)


def stock(options: argparse.Namespace) -> None:
    """nnU-Net's command and predict.py, in turns, on the same CTs."""
    import segkit_stock

    with tempfile.TemporaryDirectory() as scratch:
        work = options.keep or Path(scratch)
        inputs = work / "inputs"
        inputs.mkdir(parents=True, exist_ok=True)
        for path in sorted(options.inputs.glob("*_0000.nii.gz")):
            image = sitk.DICOMOrient(sitk.ReadImage(str(path)), "LPS")
            sitk.WriteImage(image, str(inputs / path.name), useCompression=True, compressionLevel=1)
        segkit_stock.write_results_folder(options.model, work / "results")
        ours = [
            *(sys.executable, str(SUBMISSIONS / "small_unet" / "predict.py"), "--task", options.task),
            *("--weights", str(options.model), "--inputs", str(inputs), "--outputs", str(work / "ours")),
        ]
        environment = {"PYTHONPATH": str(SUBMISSIONS / "segkit"), "PATH": "/usr/bin:/bin"}
        runs: dict[str, list] = {"nnU-Net": [], "segkit": []}
        for number in range(options.rounds):
            runs["segkit"].append(segkit_stock.timed(ours, environment))
            runs["nnU-Net"].append(
                segkit_stock.predict(work / "results", inputs, work / "stock", threads=usable_cpus())
            )
            runs["segkit"].append(segkit_stock.timed(ours, environment))
            latest = {name: f"{done[-1].wall_s:.1f} s" for name, done in runs.items()}
            log.info(f"round {number + 1} of {options.rounds}: {latest}")
        for name, done in runs.items():
            wall = ", ".join(f"{run.wall_s:.1f}" for run in done)
            print(f"{name}: {wall} s; peak {max(run.peak_memory_gib for run in done):.2f} GiB")
        ratio = statistics.median(run.wall_s for run in runs["nnU-Net"]) / statistics.median(
            run.wall_s for run in runs["segkit"]
        )
        print(f"nnU-Net takes {ratio:.1f} times as long")
        for path in sorted((work / "stock").glob("*.nii.gz")):
            theirs, mine = (
                sitk.GetArrayFromImage(sitk.ReadImage(str(work / folder / path.name)))
                for folder in ("stock", "ours")
            )
            labels = np.unique(theirs[theirs > 0]).tolist()
            dice = [round(score, 4) for score in dice_per_label(mine, theirs)]
            print(f"{path.name}: Dice against nnU-Net's, by label: {dict(zip(labels, dice, strict=True))}")


def settings(options: argparse.Namespace) -> None:
    """One change of the exact path at a time: time, Dice against the reference, Dice against nnU-Net."""
    plan, network = load_model(options.model)
    cases = sorted((options.data / "imagesVal").glob("*_0000.nii.gz"))[: options.cases]
    read = [read_ct(path) for path in cases]
    log.info(f"nnU-Net's way for {len(cases)} cases")
    slow = Reference(plan, network)
    stock_maps = [slow.segment(ct) for ct in read]
    engines = {name: load_engine(options.model, name) for name in ("f32", "bf16", "int8")}
    engines["torch"] = TorchEngine(network)
    seconds: dict[str, list[float]] = {name: [] for name in ONE_BY_ONE}
    maps: dict[str, list[np.ndarray]] = {}
    for number in range(options.rounds):
        for name, change in ONE_BY_ONE.items():
            chosen = {**EXACT, **change}
            segmenter = Segmenter(plan, engines[chosen.pop("engine")], Settings(**chosen))
            started = time.perf_counter()
            maps[name] = [segmenter.segment(ct) for ct in read]
            seconds[name].append(time.perf_counter() - started)
        log.info(f"round {number + 1} of {options.rounds}")
    exact_s = statistics.median(seconds["OpenVINO, float32 (the yardstick)"])
    print("| setting | time | DSC | NSD | worst label against nnU-Net | voxels equal to nnU-Net's |")
    print("|---|---|---|---|---|---|")
    scores = mean_scores(options, cases, read, stock_maps)
    print(f"| nnU-Net's own steps | | {scores} | 1 | 1 |")
    for name, found in maps.items():
        scores = mean_scores(options, cases, read, found)
        equal = np.mean([(a == b).mean() for a, b in zip(found, stock_maps, strict=True)])
        ratio = statistics.median(seconds[name]) / exact_s
        worst = worst_label(found, stock_maps)
        print(f"| {name} | {ratio:.2f} | {scores} | {worst:.4f} | {equal:.5f} |")


def mean_scores(
    options: argparse.Namespace, cases: list[Path], read: list[CT], maps: list[np.ndarray]
) -> str:
    """DSC and NSD in per cent, over the labels that a case's reference holds, as two cells of a table."""
    with tempfile.TemporaryDirectory() as folder:
        for path, ct, labels in zip(cases, read, maps, strict=True):
            write_labels(Path(folder) / path.name.replace("_0000", ""), labels, like=ct)
        scored = list(score_folder(options.data / "labelsVal", folder, labels=label_table(options.challenge)))
    present = [label for case in scored for label in case.labels if label.reference_ml > 0]
    dsc, nsd = (100 * np.mean([getattr(label, name) for label in present]) for name in ("dsc", "nsd"))
    return f"{dsc:.2f} | {nsd:.2f}"


def worst_label(maps: list[np.ndarray], others: list[np.ndarray]) -> float:
    """The lowest Dice of a label over all volumes taken together."""
    scores = []
    for label in np.unique(np.concatenate([np.unique(other) for other in others]))[1:]:
        both = sum(int(((a == label) & (b == label)).sum()) for a, b in zip(maps, others, strict=True))
        either = sum(int((a == label).sum() + (b == label).sum()) for a, b in zip(maps, others, strict=True))
        scores.append(2 * both / either)
    return min(scores)


if __name__ == "__main__":
    main()
