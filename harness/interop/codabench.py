"""A Codabench bundle from a challenge: competition.yaml, pages, scoring program and reference data.

The layout follows Codabench's documentation of bundles and of competition.yaml, version 2
(https://github.com/codalab/codabench, documentation/docs/Organizers/Benchmark_Creation). Participants hand in
predictions; `python -m evaluator.platforms.codabench` scores them in an image that holds the evaluator.
"""

from __future__ import annotations

import hashlib
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from evaluator.platforms.rules import Column, PlatformRules, rules_to_json
from harness.challenge import Challenge
from harness.data.dataset import Dataset
from harness.files import whole_file
from harness.interop.ground_truth import reference_files
from harness.interop.platform_rules import RUNTIME, platform_rules
from harness.interop.yaml_text import to_yaml
from harness.text import markdown_text

_EPOCH = (1980, 1, 1, 0, 0, 0)
_LOGO_PIXELS = 256
_MOST_LETTERS = 36
_COMMAND = "python3 -m evaluator.platforms.codabench /app/program/rules.json /app/input /app/output"


@dataclass(frozen=True)
class BundleOptions:
    """What a bundle says beside the challenge.

    Attributes:
        docker_image: The image that workers score in, under the name by which they pull it.
        start: The first day of the only phase.
        submissions_per_day: Of one participant.
        time_limit_s: Of scoring one submission.
        terms: Text of the terms of participation, in Markdown.
    """

    docker_image: str
    start: date
    submissions_per_day: int = 5
    time_limit_s: int = 3600
    terms: str = ""


def write_bundle(challenge: Challenge, dataset: Dataset, path: Path, options: BundleOptions) -> None:
    """Write the bundle as one .zip, the same bytes for the same challenge, data and options.

    Raises:
        ConfigurationError: a case has no reference.
    """
    rules = codabench_rules(challenge, dataset)
    references = reference_files(dataset)
    texts: dict[str, str | bytes] = {
        "competition.yaml": to_yaml(competition(challenge, rules, options)),
        "logo.png": _logo(),
        "pages/overview.md": _overview(challenge),
        "pages/evaluation.md": _evaluation(rules),
        "pages/data.md": _data(dataset, references[0][0]),
        "pages/terms.md": options.terms or _TERMS,
        "scoring_program/metadata.yaml": f"command: {_COMMAND}\n",
        "scoring_program/rules.json": rules_to_json(rules),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as unfinished, zipfile.ZipFile(unfinished, "w") as archive:
        for name, content in texts.items():
            archive.writestr(_entry(name), content, zipfile.ZIP_DEFLATED)
        for name, label in references:
            with label.open("rb") as source, archive.open(_entry(f"reference_data/{name}"), "w") as target:
                while piece := source.read(1 << 22):
                    target.write(piece)


def codabench_rules(challenge: Challenge, dataset: Dataset) -> PlatformRules:
    """Return the rules with keys and titles no longer than Codabench's leaderboards hold (its models.py)."""
    rules = platform_rules(challenge, dataset)
    columns = [
        replace(column, key=_short(column.key), title=_short(column.title.removesuffix(" %")))
        for column in rules.columns
    ]
    return replace(rules, columns=tuple(columns))


def _short(text: str) -> str:
    """Return a text, or its beginning with what tells it from others of the same beginning."""
    if len(text) <= _MOST_LETTERS:
        return text
    mark = hashlib.sha256(text.encode()).hexdigest()[:6]
    return f"{text[: _MOST_LETTERS - len(mark) - 1]}_{mark}"


def competition(challenge: Challenge, rules: PlatformRules, options: BundleOptions) -> dict[str, object]:
    """Return what competition.yaml holds."""
    columns = [column for column in rules.columns if column.key != RUNTIME]
    return {
        "version": 2,
        "title": challenge.title,
        "description": f"{len(challenge.labels)} labels, scored by {challenge.profile} rules.",
        "image": "logo.png",
        "terms": "pages/terms.md",
        "docker_image": options.docker_image,
        "registration_auto_approve": False,
        "enable_detailed_results": True,
        "make_programs_available": True,
        "make_input_data_available": False,
        "pages": [
            {"title": "Overview", "file": "pages/overview.md"},
            {"title": "Evaluation", "file": "pages/evaluation.md"},
            {"title": "Data", "file": "pages/data.md"},
        ],
        "tasks": [
            {
                "index": 0,
                "name": challenge.title,
                "description": "Segment every case.",
                "reference_data": "reference_data",
                "scoring_program": "scoring_program",
            }
        ],
        "phases": [
            {
                "index": 0,
                "name": "Validation",
                "description": "Hand in a zip of label volumes.",
                "start": f"{options.start.isoformat()} 00:00:00",
                "max_submissions_per_day": options.submissions_per_day,
                "execution_time_limit": options.time_limit_s,
                "accepts_only_result_submissions": True,
                "tasks": [0],
            }
        ],
        "leaderboards": [
            {
                "index": 0,
                "title": "Results",
                "key": "main",
                "submission_rule": "Force_Best",
                "columns": [
                    *(_column(column, index) for index, column in enumerate(columns)),
                    {
                        "title": "failed cases",
                        "key": "failed_cases",
                        "index": len(columns),
                        "sorting": "asc",
                        "precision": 0,
                    },
                ],
            }
        ],
    }


def _column(column: Column, index: int) -> dict[str, object]:
    return {
        "title": column.title,
        "key": column.key,
        "index": index,
        "sorting": "desc" if column.direction == "higher" else "asc",
        "precision": 4 if column.percent else 2,
        "hidden": not column.ranked,
    }


def _overview(challenge: Challenge) -> str:
    lines = [
        f"# {markdown_text(challenge.title)}",
        "",
        "Segment these structures. A label volume holds their values, and 0 elsewhere.",
        "",
        "| value | structure | group | NSD tolerance |",
        "|---|---|---|---|",
    ]
    for label in challenge.labels:
        values = ", ".join(map(str, label.voxel_values))
        groups = [name for name, members in challenge.label_groups.items() if label.value in members]
        lines.append(
            f"| {values} | {markdown_text(label.name)} | {markdown_text(', '.join(groups))} "
            f"| {label.tolerance_mm:g} mm |"
        )
    return (
        "\n".join([*lines, *([] if not challenge.source else ["", markdown_text(challenge.source)])]) + "\n"
    )


def _evaluation(rules: PlatformRules) -> str:
    lines = [
        "# Evaluation",
        "",
        "Every case of the reference data counts. A case without a prediction, or with one that cannot be"
        " read or lies on another grid, keeps its place and counts the failed value.",
        "",
        "| column | key | better | a failed case counts |",
        "|---|---|---|---|",
    ]
    for column in rules.columns:
        if column.ranked and column.key != RUNTIME:
            failed = (
                "infinitely much" if column.failed in (float("inf"), float("-inf")) else f"{column.failed:g}"
            )
            lines.append(
                f"| {markdown_text(column.title)} | `{column.key}` | {column.direction} | {failed} |"
            )
    absent = {
        "not counted": "A label that a case's reference lacks does not count in that case.",
        "1": "A label that a case's reference lacks counts as found where none is predicted, else as missed.",
        "nan": "A label that a case's reference lacks counts only where it is predicted: as missed.",
    }[rules.both_empty]
    lines += ["", absent, "", "Fractions run from 0 to 1. 999999999 stands for an infinite mean."]
    return "\n".join(lines) + "\n"


def _data(dataset: Dataset, example: str) -> str:
    return (
        f"# Data\n\n{len(dataset.cases)} cases. Hand in a zip with one label volume per case, named like"
        f" `{example}`, on the grid of its image.\n"
    )


_TERMS = "# Terms\n\nThe organisers have not stated terms of participation yet.\n"


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, date_time=_EPOCH)
    entry.external_attr = 0o644 << 16
    return entry


def _logo() -> bytes:
    """Return a PNG of two discs that overlap, as masks do; Codabench wants a picture."""
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", struct.pack(">IIBBBBB", _LOGO_PIXELS, _LOGO_PIXELS, 8, 2, 0, 0, 0)),
            _chunk(b"IDAT", zlib.compress(b"".join(_logo_rows()), 9)),
            _chunk(b"IEND", b""),
        )
    )


def _logo_rows() -> Iterator[bytes]:
    colours = {
        (False, False): b"\xf4\xf4\xf0",
        (True, False): b"\x2a\x6f\xb0",
        (False, True): b"\xe0\x8a\x2c",
    }
    for y in range(_LOGO_PIXELS):
        row = bytearray(b"\0")
        for x in range(_LOGO_PIXELS):
            inside = tuple((x - centre) ** 2 + (y - 128) ** 2 < 72**2 for centre in (96, 160))
            row += colours.get((inside[0], inside[1]), b"\x5a\xa0\x64")
        yield bytes(row)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
