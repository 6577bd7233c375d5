"""What is installed where: the names, versions and licences that packages state of themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.parser import BytesParser
from email.policy import compat32

_CLASSIFIER = "License :: "
_LONGEST_LICENCE = 100
"""A longer text under `License` is the licence itself, not its name; then its first words tell."""

_TITLE = re.compile(
    r"(The )?MIT License|BSD [23]-Clause License|(Apache|Mozilla Public) License,? Version 2\.0",
    re.I,
)


@dataclass(frozen=True, order=True)
class Package:
    """One installed package.

    Attributes:
        kind: `pypi` or `deb`.
        licence: As the package names it; empty where it does not.
        is_expression: Whether that is an SPDX expression.
        architecture: Of a Debian package.
    """

    kind: str
    name: str
    version: str
    licence: str = ""
    is_expression: bool = False
    architecture: str = ""

    @property
    def purl(self) -> str:
        """The package URL (https://github.com/package-url/purl-spec)."""
        version = self.version.replace("+", "%2B").replace(":", "%3A")
        if self.kind == "deb":
            return f"pkg:deb/debian/{self.name}@{version}?arch={self.architecture}"
        return f"pkg:pypi/{re.sub('[-_.]+', '-', self.name).lower()}@{version}"


def python_package(metadata: bytes) -> Package | None:
    """Return the package that a METADATA file describes; None if it names none."""
    fields = BytesParser(policy=compat32).parsebytes(metadata, headersonly=True)
    name, version = fields.get("Name"), fields.get("Version")
    if not name or not version:
        return None
    expression = _words(fields.get("License-Expression"))
    if expression:
        return Package("pypi", str(name), str(version), expression, is_expression=True)
    stated = _words(fields.get("License"))
    classified = [
        str(value).rpartition(" :: ")[2]
        for value in fields.get_all("Classifier", [])
        if str(value).startswith(_CLASSIFIER) and str(value).count(" :: ") > 1
    ]
    if len(stated) > _LONGEST_LICENCE:
        title = _TITLE.match(stated)
        stated = title[0] if title else ""
    named = stated if stated.upper() != "UNKNOWN" else ""
    return Package("pypi", str(name), str(version), named or " or ".join(classified))


def debian_packages(status: bytes) -> Iterator[Package]:
    """Yield the installed packages of dpkg's status file."""
    for paragraph in re.split(rb"\n\n+", status):
        fields = dict(
            line.split(": ", 1)
            for line in paragraph.decode("utf-8", "replace").splitlines()
            if ": " in line and not line.startswith(" ")
        )
        if fields.get("Status", "").endswith(" installed") and {"Package", "Version"} <= fields.keys():
            yield Package(
                "deb",
                fields["Package"],
                fields["Version"],
                architecture=fields.get("Architecture", "all"),
            )


def _words(value: object) -> str:
    return " ".join(str(value).split()) if value is not None else ""
