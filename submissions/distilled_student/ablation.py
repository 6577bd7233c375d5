"""What each kind of pseudo label is worth: students of different labels, judged on complete ones.

    for labels in annotated organs fused; do
        python train.py DATA --schedule short --work WORK --student-labels $labels --out WORK/models/$labels
    done
    python ablation.py DIR WORK/organs/model WORK/models/annotated WORK/models/organs WORK/models/fused

The first three lines make one student for each kind, all else equal: recipe, seed, first weights. DIR holds
imagesVal and labelsVal of other patients with every class annotated. Predictions (float32, the exact
setting) stay beside each model in predictions/ and are reused. Prints a table in Markdown.
"""

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from segkit.cases import IMAGE_ENDING
from segkit.errors import SegkitError
from segkit.log import log
from segkit.model import weights_file
from segkit.partial.labelling import label_cases
from segkit.partial.unet_labeller import load_unet
from segkit.partial.values import TUMOUR
from segkit.program import run_program

from evaluator import label_table, score_folder
from evaluator.errors import EvaluatorError


def main() -> int:
    """Predict with every model and print how they compare."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, help="folder with imagesVal and labelsVal")
    parser.add_argument("models", type=Path, nargs="+", help="model folders, one row each")
    parser.add_argument("--challenge", default="flare23", help="labels and tolerances")
    parser.add_argument("--json", type=Path, help="write every score here, too")
    options = parser.parse_args()
    return run_program(lambda: print_table(options), errors=(SegkitError, EvaluatorError))


def print_table(options: argparse.Namespace) -> None:
    """A row for each model.

    Raises:
        SegkitError: There is no case, or a model is not whole.
        EvaluatorError: A prediction cannot be scored.
    """
    images = sorted((options.data / "imagesVal").glob(f"*{IMAGE_ENDING}"))
    if not images:
        raise SegkitError(f"no imagesVal/<case>{IMAGE_ENDING} in {options.data}")
    rows = {}
    for model in options.models:
        name = f"{model.parent.name} model" if model.name == "model" else model.name
        rows[name] = scores_of(model, images, options)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")
    first = next(iter(rows.values()))
    with_tumour = sum(row["label"] == TUMOUR and row["reference_ml"] > 0 for row in first)
    print(f"| model | organs | tumour ({with_tumour} cases) | tumour found where there is none |")
    print("|---|---|---|---|")
    for name, scores in rows.items():
        organs = mean_of([row for row in scores if row["label"] != TUMOUR and row["reference_ml"] > 0])
        tumour = mean_of([row for row in scores if row["label"] == TUMOUR and row["reference_ml"] > 0])
        without = [row for row in scores if row["label"] == TUMOUR and row["reference_ml"] == 0]
        false = sum(row["prediction_ml"] > 0 for row in without)
        print(f"| {name} | {organs} | {tumour} | {false} of {len(without)} |")


def scores_of(model: Path, images: list[Path], options: argparse.Namespace) -> list[dict[str, Any]]:
    """What the evaluator says of each case and label."""
    predictions = model / "predictions"
    cases = [(image.name.removesuffix(IMAGE_ENDING), image) for image in images]
    label_cases(
        weights_file(model),
        lambda: load_unet(model),
        cases,
        predictions,
        lambda case: log.info(f"{model}: {case}"),
    )
    scored = score_folder(
        options.data / "labelsVal",
        predictions,
        labels=label_table(options.challenge),
        cases=[name for name, _ in cases],
    )
    return [
        {"case": case.case, **dataclasses.asdict(label), **label.scores}
        for case in scored
        for label in case.labels
    ]


def mean_of(rows: list[dict[str, Any]]) -> str:
    """DSC and NSD in per cent, one cell of the table."""
    if not rows:
        return ""
    return " / ".join(f"{100 * np.mean([row[name] for row in rows]):.1f}" for name in ("dsc", "nsd"))


if __name__ == "__main__":
    sys.exit(main())
