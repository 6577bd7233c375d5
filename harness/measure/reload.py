"""Whether systemd was reloaded, which takes the GPU away from running containers.

With its cgroup driver a reload writes the device rules of every container anew, as systemd knows them, and
systemd does not know of a GPU that a hook added afterwards.
"""

from __future__ import annotations

import subprocess

_QUESTION = ("systemctl", "show", "--property=UnitsLoadFinishTimestampMonotonic", "--value")


def reloaded_since(moment: float) -> bool:
    """Return whether systemd read its units anew after a moment of `time.monotonic()`."""
    try:
        answer = subprocess.run(_QUESTION, capture_output=True, text=True, check=False, timeout=10)
        return int(answer.stdout) / 1e6 > moment
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return False
