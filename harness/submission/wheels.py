"""The wheelhouse: wheels fetched once on the host, so that no build needs a network."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from pathlib import Path

from harness.engine.cache import cache_folder
from harness.submission.image import Progress, silent
from harness.submission.program import run_script
from harness.submission.recipes import WheelSet, checkout

CONSTRAINTS = "constraints-runtime.txt"
TOOLS = "docker/wheelhouse-tools.txt"
_SCRIPT = "docker/wheelhouse.sh"
_COMPLETE = ".complete"


def ensure_wheels(wheels: WheelSet, progress: Progress = silent) -> Path:
    """Return a folder with all wheels of a set, filling it first where it is missing.

    A folder is named after what it was made from, so changed pins get a new one; the set's older
    folders are removed then. A folder copied from another machine is used as it is.

    Raises:
        InfrastructureError: pip could not fetch them; its last lines are in the message.
    """
    root = checkout()
    sources = [root / name for name in (_SCRIPT, TOOLS, CONSTRAINTS, wheels.requirements) if name]
    key = hashlib.sha256(b"\0".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    house = cache_folder() / "wheels"
    folder = house / f"{wheels.name}-{key}"
    if (folder / _COMPLETE).is_file():
        return folder
    house.mkdir(parents=True, exist_ok=True)
    for left in house.glob(".*"):  # of a build that was killed; the build lock allows one at a time
        shutil.rmtree(left, ignore_errors=True)
    partial = house / f".{folder.name}.{os.getpid()}"
    requirements = [str(path) for path in sources[3:]]
    try:
        progress(f"fetching wheels into {folder}")
        run_script(
            [
                "sh",
                str(root / _SCRIPT),
                str(partial),
                str(root / TOOLS),
                str(root / CONSTRAINTS),
                *requirements,
            ],
            what=f"filling the wheelhouse ({wheels.name})",
            environment=os.environ | {"PYTHON": sys.executable, "WHEELS": wheels.name},
            progress=progress,
        )
        (partial / _COMPLETE).touch()
        for old in house.glob(f"{wheels.name}-*"):
            shutil.rmtree(old, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder
