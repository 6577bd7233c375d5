"""List the licence of every package that the project depends on, and fail if one is unknown or not free.

usage: licences.py [WHEELS...]     packages of this Python's environment, and of wheels in folders
"""

from __future__ import annotations

import re
import sys
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness.submission.packages import Package, python_package

# Words of licences that let anybody use, change and pass on. What is linked or imported may be weak copyleft.
_FREE = re.compile(
    r"\b(MIT|BSD|0BSD|Apache|PSF|Python Software Foundation|ISC|Zlib|Unlicense|MPL|Mozilla|LGPL|CC0|HPND)\b",
    re.I,
)


def main(folders: list[str]) -> int:
    """Print a line per package, and return 1 if a licence is unknown or not free."""
    packages = {package.name.lower(): package for package in _installed()}
    for folder in folders:
        packages |= {package.name.lower(): package for package in _of_wheels(Path(folder))}
    bad = []
    for _, package in sorted(packages.items()):
        sys.stdout.write(f"{package.name}\t{package.version}\t{package.licence or 'UNKNOWN'}\n")
        if not _FREE.search(package.licence):
            bad.append(package.name)
    if bad:
        sys.stderr.write(f"licences: unknown or not free: {', '.join(bad)}\n")
    return 1 if bad else 0


def _installed() -> Iterator[Package]:
    for distribution in metadata.distributions():
        text = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
        package = python_package(text.encode())
        if package is not None:
            yield package


def _of_wheels(folder: Path) -> Iterator[Package]:
    for path in sorted(folder.glob("*.whl")):
        with zipfile.ZipFile(path) as wheel:
            for name in wheel.namelist():
                if name.endswith(".dist-info/METADATA") and name.count("/") == 1:
                    package = python_package(wheel.read(name))
                    if package is not None:
                        yield package


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
