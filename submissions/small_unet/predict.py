"""What happens to one CT: read, find the body, run the U-Net over it in tiles, write the label map."""

import argparse
import json
import os
import sys
import time
from pathlib import Path

from segkit import SegkitError, Segmenter, Settings, TorchEngine, load_model, read_ct, write_labels

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
        segmenter = load_segmenter(options.task)
    except SegkitError as error:
        say(f"error: {error}")
        return 2

    failed = 0
    for path in images:
        case = path.name.removesuffix(IMAGE_ENDING)
        started = time.monotonic()
        try:
            ct = read_ct(path)
            labels = segmenter.segment(ct)
            write_labels(options.outputs / f"{case}.nii.gz", labels, like=ct)
        except SegkitError as error:
            say(f"error: {error}")
            failed += 1
            continue
        say(f"{case}: {ct.array.shape} voxels in {time.monotonic() - started:.1f} s")
    return 1 if failed else 0


def load_segmenter(task: str) -> Segmenter:
    """The model of a task; see tasks.json."""
    choice = json.loads((HERE / "tasks.json").read_text())[task]
    plan, network = load_model(HERE / "weights" / choice["weights"])
    return Segmenter(
        plan,
        TorchEngine(network),
        Settings(mirror_axes=tuple(choice["mirror_axes"])),
        leave_out=[plan.labels.index(name) for name in choice["leave_out"]],
    )


def parse_options() -> argparse.Namespace:
    """The command line; the image needs none of it."""
    tasks = sorted(json.loads((HERE / "tasks.json").read_text()))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=Path, default=Path("/workspace/inputs"))
    parser.add_argument("--outputs", type=Path, default=Path("/workspace/outputs"))
    parser.add_argument("--task", choices=tasks, default=os.environ.get("TASK", "organs_tumour"))
    options = parser.parse_args()
    if options.task not in tasks:  # argparse does not check a default
        parser.error(f"the variable TASK is {options.task!r}; it must be one of {', '.join(tasks)}")
    options.outputs.mkdir(parents=True, exist_ok=True)
    return options


def say(message: str) -> None:
    """Everything said goes to stderr."""
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
