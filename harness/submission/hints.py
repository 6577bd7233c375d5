"""What usually lies behind a case that failed, and the mend: from how it ended and what it printed.

Participants meet the same few mistakes. Each is a pattern of the log or the evidence, and what to change.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.challenge import Challenge
from harness.results.records import ExecutionRecord, Outcome


@dataclass(frozen=True)
class Hint:
    """A known mistake.

    Attributes:
        rule: A short constant name.
        message: What it is, a clause without a full stop.
        mend: What to change, a sentence.
    """

    rule: str
    message: str
    mend: str

    def line(self) -> str:
        """Return it as one line."""
        return f"hint {self.rule}: {self.message}. {self.mend}"


@dataclass(frozen=True)
class _Pattern:
    """What a log holds if a mistake was made; the first of a group that is found is told."""

    hint: Hint
    found: re.Pattern[str]


def _pattern(rule: str, found: str, message: str, mend: str) -> _Pattern:
    return _Pattern(Hint(rule, message, mend), re.compile(found, re.IGNORECASE))


_LOG_PATTERNS: Sequence[_Pattern] = (
    _pattern(
        "line-ends",
        r"\r['\":]|\^M|\\r['\"]|: not found\r|\r: not found",
        "a script has Windows line ends (CRLF), which sh takes for a part of each word",
        "Convert it with sed -i 's/\\r$//' predict.sh.",
    ),
    _pattern(
        "bom",
        "\ufeff|\xef\xbb\xbf",
        "a script begins with a byte order mark (BOM)",
        "Save it as UTF-8 without BOM.",
    ),
    _pattern(
        "bash",
        r"illegal option -o pipefail|\[\[: not found|source: not found|bad substitution|"
        r'syntax error: "\(" unexpected|declare: not found|shopt: not found|let: not found',
        "predict.sh is read by sh, which ignores its #! and does not know bash's words",
        'Write it for sh, or let it start another script: exec bash main.sh "$@".',
    ),
    _pattern(
        "closed-files",
        r"permission denied[^\n]*/root|/root[^\n]*permission denied",
        "a case runs as user 65532, to whom /root is closed",
        "COPY code and weights to /workspace or /opt in the Dockerfile.",
    ),
    _pattern(
        "closed-files",
        r"permission denied",
        "a case runs as user 65532, who may not open a file of the image (mode 600?) or write there",
        "Add `RUN chmod -R a+rX /workspace` to the Dockerfile; write to the outputs or to /tmp.",
    ),
    _pattern(
        "read-only",
        r"read-only file system|errno 30",
        "the inputs of the judge are never writable, and the root file system is read-only",
        "Write to the outputs or to /tmp; writable_inputs and writable_root opt out, and mark the row.",
    ),
    _pattern(
        "network",
        r"name resolution|name or service not known|could not resolve host|network is unreachable|"
        r"max retries exceeded|urlopen error|connectionerror|getaddrinfo",
        "a case has no network, so nothing can be downloaded at run time",
        "Download it in the Dockerfile, and load it from a file of the image.",
    ),
    _pattern(
        "shm",
        r"/dev/shm|bus error|unable to open shared memory|shared memory object|dataloader worker[^\n]*killed",
        "/dev/shm was too small for what the processes share",
        "Use no worker processes (num_workers=0), or share through files in /tmp.",
    ),
    _pattern(
        "disk",
        r"no space left on device",
        "a folder for temporary files was full",
        "Keep less in /tmp, which the challenge limits; remove what is no longer needed.",
    ),
    _pattern(
        "module",
        r"modulenotfounderror|no module named",
        "a Python package is not in the image for this user",
        "Install it in the Dockerfile with pip as root, not with --user.",
    ),
)

_NO_GPU = re.compile(
    r"nvidia-smi: (command )?not found|no cuda gpus|no nvidia driver|found no nvidia|"
    r"torch not compiled with cuda|cuda error: no cuda|libcuda\.so|cuda driver version is insufficient",
    re.IGNORECASE,
)


def hints(execution: ExecutionRecord, log: str, rules: Challenge, *, gpu: bool) -> list[Hint]:
    """Return what a failed case's end and log tell of known mistakes, the likeliest first.

    Args:
        execution: The case's record.
        log: What the container printed, or its end.
        rules: The challenge.
        gpu: Whether the container had one.
    """
    if execution.outcome is Outcome.SUCCEEDED:
        return []
    found = [*_of_gpu(log, gpu=gpu), *_of_log(log), *_of_output(execution, rules)]
    return list({hint.rule: hint for hint in reversed(found)}.values())[::-1]


def _of_gpu(log: str, *, gpu: bool) -> Iterator[Hint]:
    if not gpu and _NO_GPU.search(log):
        yield Hint(
            "gpu",
            "the method wants a GPU, and a case here has none",
            "Choose the device by torch.cuda.is_available(), or enter a challenge whose limits give a GPU.",
        )


def _of_log(log: str) -> Iterator[Hint]:
    told: set[str] = set()
    for pattern in _LOG_PATTERNS:
        if pattern.hint.rule not in told and pattern.found.search(log):
            told.add(pattern.hint.rule)
            yield pattern.hint


def _of_output(execution: ExecutionRecord, rules: Challenge) -> Iterator[Hint]:
    contract, summary = rules.contract, execution.evidence.summary
    given = f"{contract.inputs}/{execution.case}{contract.input_suffix}"
    wanted = f"{contract.outputs}/{execution.case}{contract.output_suffix}"
    if execution.outcome is Outcome.NO_OUTPUT:
        if "_0000" in summary.partition("it wrote ")[2]:
            yield Hint("name", "the output keeps `_0000` of the input's name", f"Cut it off: write {wanted}.")
        elif "it wrote nothing" in summary:
            yield Hint(
                "folders",
                f"what lay in the inputs was {given}; no other folder is looked at",
                f"Read that folder, *{contract.input_suffix}, and write {wanted}.",
            )
        else:
            yield Hint("name", "the output has another name than the case", f"Write {wanted}.")
    if execution.outcome is Outcome.INVALID_OUTPUT:
        yield from _of_content(summary)


def _of_content(summary: str) -> Iterator[Hint]:
    if "no whole number" in summary:
        yield Hint(
            "probabilities",
            "the file holds probabilities or logits",
            "Write labels: numpy.argmax over the classes, as uint8.",
        )
    shapes = [tuple(words.split("x")) for words in re.findall(r"\d+x\d+x\d+", summary)]
    if len(shapes) >= 2 and shapes[0] != shapes[1] and shapes[0] == shapes[1][::-1]:
        yield Hint(
            "axes",
            "the axes are in reverse order: SimpleITK's arrays are (z, y, x), nibabel's (x, y, z)",
            "Transpose with array.transpose(2, 1, 0), or write with the library that read the image.",
        )
    elif "spacing 1x1x1" in summary or "identity" in summary:
        yield Hint(
            "geometry",
            "the file has no geometry of its own",
            "Copy the image's: SimpleITK's CopyInformation, or nibabel's affine and header.",
        )
