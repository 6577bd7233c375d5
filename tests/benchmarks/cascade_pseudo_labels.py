"""What pseudo-label optimisation does to the cascade: labels with gaps, joined with its predictions or not.

    python tests/benchmarks/cascade_pseudo_labels.py WORK [--cases 8] [--hours 0.25]

Phantoms (seed 77, split Val) lose two of every eight slices of their thin organs; as in a round of
optimise_labels.py what is left is joined with the predictions of the shipped weights. The first table
compares both with the complete labels. With --hours, phase 2 also goes on from the shipped weights for so
long on each, and the second table has both networks on other phantoms (seed 7). DSC / NSD in per cent,
`exact` profile; goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from cascade.export import export
from cascade.train.pseudo import merge_folders

from evaluator import label_table, score_folder
from harness.data.phantom import write_dataset

CASCADE = Path(__file__).resolve().parents[2] / "submissions" / "cascade"
CHALLENGE = "flare24-task2"
THIN = {5: "aorta", 6: "inferior vena cava", 10: "esophagus", 12: "duodenum"}
EVERY, MISSING = 8, 2


def main() -> None:
    """Make the phantoms, join labels, train where asked to, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--cases", type=int, default=8)
    parser.add_argument("--hours", type=float, help="training on each kind of labels")
    parser.add_argument("--recipe", type=Path, default=CASCADE / "plans" / "short.json")
    options = parser.parse_args()
    data = options.work / "phantoms"
    write_dataset(data, cases=options.cases, seed=77)
    images, complete = data / "imagesVal", data / "labelsVal"
    gaps, merged = options.work / "gaps", options.work / "merged"
    for path in complete.glob("*.nii.gz"):
        write_with_gaps(path, gaps / path.name)
    predict(images, CASCADE / "weights", options.work / "shipped")
    merge_folders(gaps, options.work / "shipped" / "predicted", merged)
    print(table(complete, {"with gaps": gaps, "merged": merged}), flush=True)
    if options.hours:
        other = options.work / "other"
        write_dataset(other, cases=options.cases, seed=7)
        networks = {"shipped": CASCADE / "weights"}
        for name, labels in (("with gaps", gaps), ("merged", merged)):
            networks[name] = train(images, labels, options.work / name.replace(" ", "_"), options)
        for name, weights in networks.items():
            predict(other / "imagesVal", weights, options.work / f"judged_{name.replace(' ', '_')}")
        folders = {name: options.work / f"judged_{name.replace(' ', '_')}" / "predicted" for name in networks}
        print(table(other / "labelsVal", folders))


def write_with_gaps(path: Path, out: Path) -> None:
    """Write a label map whose thin organs lack two of every eight slices."""
    if out.exists():
        return
    image = sitk.ReadImage(str(path))
    labels = sitk.GetArrayFromImage(image)
    gone = np.arange(len(labels)) % EVERY < MISSING
    labels[gone[:, None, None] & np.isin(labels, list(THIN))] = 0
    less = sitk.GetImageFromArray(labels)
    less.CopyInformation(image)
    out.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(less, str(out), useCompression=True)


def predict(images: Path, weights: Path, work: Path) -> None:
    """Write the label map of every CT of a folder into the folder `predicted`, in float32."""
    if not (work / "predicted.ok").exists():
        export(weights, work / "model")
        command = [CASCADE / "predict.py", "--mode", "exact", "--inputs", images]
        command += ["--outputs", work / "predicted", "--weights", work / "model"]
        subprocess.run([sys.executable, *map(str, command)], check=True)
        (work / "predicted.ok").touch()


def train(images: Path, labels: Path, work: Path, options: argparse.Namespace) -> Path:
    """Go on with phase 2 on some labels; returns its weights."""
    data, weights = work / "data", work / "weights"
    if not (work / "done").exists():
        data.mkdir(parents=True, exist_ok=True)
        if not (data / "imagesTr").exists():
            (data / "imagesTr").symlink_to(images.resolve())
        weights.mkdir(exist_ok=True)
        for name in ("plans.json", "location.safetensors"):
            (weights / name).write_bytes((CASCADE / "weights" / name).read_bytes())
        command = [CASCADE / "train.py", data, "--phase", "2", "--labels", labels, "--recipe", options.recipe]
        command += ["--start-from", CASCADE / "weights", "--work", work / "training", "--out", weights]
        command += ["--hours", options.hours, "--seed", 1]
        subprocess.run([sys.executable, *map(str, command)], check=True)
        (work / "done").touch()
    return weights


def table(references: Path, folders: dict[str, Path]) -> str:
    """DSC / NSD of folders of label maps, thin organs and the mean of all, where present, as Markdown."""
    labels = label_table(CHALLENGE)
    cells: dict[str, list[str]] = {name: [] for name in (*THIN.values(), "mean of 13 organs")}
    for folder in folders.values():
        rows = [
            label
            for case in score_folder(references, folder, labels=labels)
            for label in case.labels
            if label.reference_ml > 0
        ]
        kinds = {name: [row for row in rows if row.label == value] for value, name in THIN.items()}
        kinds["mean of 13 organs"] = rows
        for name, found in kinds.items():
            means = (100 * np.mean([row.scores[score] for row in found]) for score in ("dsc", "nsd"))
            cells[name].append(" / ".join(f"{mean:.1f}" for mean in means))
    lines = [f"| label | {' | '.join(folders)} |", "|---" * (1 + len(folders)) + "|"]
    return "\n".join([*lines, *(f"| {name} | {' | '.join(cells[name])} |" for name in cells)])


if __name__ == "__main__":
    main()
