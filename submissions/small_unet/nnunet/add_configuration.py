"""Add the configuration 3d_fullres_S4D2W32 to plans that nnU-Net's own planner made.

    python add_configuration.py $nnUNet_preprocessed/DatasetXXX_NAME/nnUNetPlans.json

3d_fullres gets the published spacing and patch, so preprocess `-c 3d_fullres` afterwards; the new
configuration inherits both and shares its preprocessed cases.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

PLANS = Path(__file__).resolve().parent.parent / "plans"
NAME = "3d_fullres_S4D2W32"


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if len(arguments) != 1:
        print("usage: python add_configuration.py PLANS.json", file=sys.stderr)
        return 2
    path = Path(arguments[0])
    try:
        plans = json.loads(path.read_text(encoding="utf-8"))
        add_configuration(plans)
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"error: {path} is no plans file of nnU-Net v2 with 3d_fullres ({error!r})", file=sys.stderr)
        return 2
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(plans, indent=4))
    part.replace(path)
    print(f"{path} has {NAME}; preprocess -c 3d_fullres, then train {NAME}", file=sys.stderr)
    return 0


def add_configuration(plans: dict[str, Any]) -> None:
    """Change nnU-Net's plans in place.

    Raises:
        KeyError: They have no configuration 3d_fullres.
    """
    recipe = json.loads((PLANS / "full.json").read_text())
    whole = plans["configurations"]["3d_fullres"]
    whole["spacing"] = recipe["spacing"]
    whole["patch_size"] = recipe["patch_size"]
    whole["batch_size"] = recipe["batch_size"]
    plans["configurations"][NAME] = {
        "inherits_from": "3d_fullres",
        "architecture": json.loads((PLANS / "architecture.json").read_text()),
    }


if __name__ == "__main__":
    sys.exit(main())
