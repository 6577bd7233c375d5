"""Run pip with the arguments given: a line of progress now and then, its errors if it fails, nothing else.

Pip warns about whatever a site's own configuration names: folders that hold some packages only, a user that
is root. That is nobody's business here, so its output is kept back and shown only where it fails.
"""

import re
import subprocess
import sys
import time

QUIET_S = 10.0
"""A line of progress is written this often at most."""
SHOWN_LINES = 40


def main() -> int:
    """Run pip and return its exit code."""
    pip = subprocess.Popen(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-color", *sys.argv[1:]],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    assert pip.stdout is not None
    kept: list[str] = []
    packages, last = 0, time.monotonic()
    for line in pip.stdout:
        if not line.lstrip().startswith("WARNING:"):
            kept.append(line)
        packages += line.startswith("Collecting ")
        doing = progress(line, packages)
        if doing and time.monotonic() - last >= QUIET_S:
            last = time.monotonic()
            sys.stderr.write(f"pip: {doing}\n")
    code = pip.wait()
    if code:
        sys.stderr.writelines(kept[-SHOWN_LINES:])
    return code


def progress(line: str, packages: int) -> str:
    """Return what a line of pip's says of its progress, in a few words; empty for other lines."""
    if found := re.match(r"Collecting ([\w.-]+)", line):
        return f"{packages} packages so far, now {found[1]}"
    if found := re.match(r"\s+Downloading (\S+) \(([\d.]+ [kMG]?B)\)", line):
        return f"downloading {found[1].rpartition('/')[2].partition('-')[0]} ({found[2]})"
    if line.startswith("Installing collected packages:"):
        return f"installing {line.count(',') + 1} packages"
    return ""


if __name__ == "__main__":
    sys.exit(main())
