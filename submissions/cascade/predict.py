"""What happens to one CT: read, find the organs' region, segment it in tiles, write the label map."""

import argparse
import sys
import time
from pathlib import Path

from cascade.pipeline import Cascade
from cascade.plan import PHASES, load_plan
from segkit import SegkitError, read_ct, write_labels
from segkit.errors import PlanError

HERE = Path(__file__).resolve().parent
IMAGE_ENDING = "_0000.nii.gz"


def main() -> int:
    """Segment every CT of the inputs folder; one that cannot be read does not stop the others."""
    options = parse_options()
    images = sorted(options.inputs.glob(f"*{IMAGE_ENDING}"))
    if not images:
        say(f"error: no <case>{IMAGE_ENDING} in {options.inputs}")
        return 2
    try:
        cascade = load_cascade(options)
    except SegkitError as error:
        say(f"error: {error}")
        return 2

    failed = 0
    for path in images:
        case = path.name.removesuffix(IMAGE_ENDING)
        started = time.monotonic()
        try:
            ct = read_ct(path)
            labels = cascade.segment(ct)
            write_labels(options.outputs / f"{case}.nii.gz", labels, like=ct)
        except SegkitError as error:
            say(f"error: {error}")
            failed += 1
            continue
        say(f"{case}: {ct.array.shape} voxels in {time.monotonic() - started:.1f} s")
    return 1 if failed else 0


def load_cascade(options: argparse.Namespace) -> Cascade:
    """Both phases, run by OpenVINO from the compiled model, or by torch from the weights.

    Torch is imported only where it runs the networks: its import takes longer than a small CT.
    """
    if options.engine == "torch":
        from cascade.model import load_network
        from segkit import TorchEngine

        plan = load_plan(options.weights)
        return Cascade(plan, *(TorchEngine(load_network(options.weights, plan, phase)) for phase in PHASES))

    from cascade.engine import OpenVinoEngine

    plan = load_plan(options.model)
    for phase in PHASES:
        if not (options.model / f"{phase}.xml").is_file():
            raise PlanError(f"{options.model}/{phase}.xml is missing; python -m cascade.export writes it.")
    return Cascade(plan, *(OpenVinoEngine(options.model / f"{phase}.xml") for phase in PHASES))


def parse_options() -> argparse.Namespace:
    """The command line; the image needs none of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=Path, default=Path("/workspace/inputs"))
    parser.add_argument("--outputs", type=Path, default=Path("/workspace/outputs"))
    parser.add_argument("--engine", choices=["openvino", "torch"], default="openvino")
    parser.add_argument("--model", type=Path, default=HERE / "model", help="what cascade.export wrote")
    parser.add_argument("--weights", type=Path, default=HERE / "weights", help="for --engine torch")
    options = parser.parse_args()
    options.outputs.mkdir(parents=True, exist_ok=True)
    return options


def say(message: str) -> None:
    """Everything said goes to stderr."""
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
