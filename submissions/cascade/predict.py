"""What happens to one CT: read, find the organs' region, segment it in tiles, write the label map.

Both networks run in OpenVINO as compiled when the image was built; `--engine torch` runs them from the
weights instead, on a GPU where there is one, else more slowly.
"""

import argparse
import sys
from pathlib import Path

from cascade.pipeline import Cascade
from cascade.plan import PHASES, load_plan
from segkit.cases import add_folder_options, segment_folder
from segkit.profile import Profile

HERE = Path(__file__).resolve().parent


def main() -> int:
    """Segment every CT of the inputs folder."""
    options = parse_options()
    return segment_folder(
        options.inputs,
        options.outputs,
        lambda profile: load_cascade(options, profile),
        show_profile=options.profile,
    )


def load_cascade(options: argparse.Namespace, profile: Profile) -> Cascade:
    """Both phases, ready to run."""
    if options.engine == "torch":
        # Importing torch takes longer than a small CT does.
        from cascade.model import load_network
        from segkit import TorchEngine
        from segkit.torch_engine import best_device

        plan = load_plan(options.weights)
        device = best_device()
        engines = [TorchEngine(load_network(options.weights, plan, phase), device=device) for phase in PHASES]
    else:
        from segkit import OpenVINOEngine

        plan = load_plan(options.model)
        bfloat16 = options.engine == "bf16"
        engines = [OpenVINOEngine(options.model / f"{phase}.xml", bfloat16=bfloat16) for phase in PHASES]
        for engine, tile in zip(engines, (plan.location.size, plan.organs.patch), strict=True):
            engine.compile(tile)
    return Cascade(plan, *engines, largest_parts=options.largest_parts == "yes", profile=profile)


def parse_options() -> argparse.Namespace:
    """The command line; the image needs none of it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_folder_options(parser)
    parser.add_argument("--engine", choices=["bf16", "f32", "torch"], default="f32")
    parser.add_argument(
        "--largest-parts", choices=["yes", "no"], default="yes", help="keep one part of each organ"
    )
    parser.add_argument("--model", type=Path, default=HERE / "model", help="what cascade.export wrote")
    parser.add_argument("--weights", type=Path, default=HERE / "weights", help="for --engine torch")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
