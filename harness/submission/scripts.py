"""What goes wrong with scripts: line ends, words that `sh` does not know, a choice of GPU, downloads.

Every function takes a script's text and returns the places that it found; the rules make sentences of them.
Shell is not parsed, only cleaned of comments, quoted text and here-documents, so an odd script may be
misread: what is found is a reason to look, and only what stops `sh` is called an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

BYTE_ORDER_MARKS = {b"\xef\xbb\xbf": "UTF-8", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
POSIX_SHELLS = frozenset({"sh", "dash", "ash", "busybox"})
_ROUGH_SHELLS = frozenset({"busybox", "ash"})


@dataclass(frozen=True)
class Place:
    """Something in a script.

    Attributes:
        what: The words themselves, or a name for them.
        line: Its line, from 1.
        stops: Whether `sh` ends the script there.
    """

    what: str
    line: int
    stops: bool = False

    def __str__(self) -> str:
        return f"{self.what} (line {self.line})"


@dataclass(frozen=True)
class _Bashism:
    what: str
    pattern: re.Pattern[str]
    stops: bool
    in_busybox: bool = False
    """Whether busybox's shell lacks it, too."""


_COMMAND = r"(?:^|[;&|({!]|\b(?:then|do|else|elif|if|while|until)\b)\s*"


def _bashism(what: str, pattern: str, *, stops: bool, in_busybox: bool = False) -> _Bashism:
    return _Bashism(what, re.compile(pattern), stops, in_busybox)


_BASHISMS = (
    _bashism("an array", r"(?:^|[\s;])\w+\+?=\(", stops=True, in_busybox=True),
    _bashism("<<<", r"<<<", stops=True, in_busybox=True),
    _bashism("<(...)", r"\s[<>]\(", stops=True),
    _bashism("function NAME", _COMMAND + r"function\s+[\w:-]+", stops=True),
    _bashism("for ((", r"\bfor\s*\(\(", stops=True, in_busybox=True),
    _bashism("|&", r"\|&", stops=True, in_busybox=True),
    _bashism("set -o pipefail", r"\bset\s+(?:-\w+\s+)*-\w*o\s+pipefail\b", stops=True),
    _bashism("${NAME//...}", r"\$\{\w+(?:\[[^]]*\])?/", stops=True),
    _bashism("${NAME:N}", r"\$\{\w+:\s*[\d(]", stops=True),
    _bashism("${NAME^^} or ${NAME,,}", r"\$\{\w+(?:\^|,)", stops=True),
    _bashism("${!NAME}", r"\$\{!\w", stops=True, in_busybox=True),
    _bashism("${NAME[...]}", r"\$\{#?\w+\[", stops=True, in_busybox=True),
    _bashism("[[", _COMMAND + r"\[\[\s", stops=False),
    _bashism("((", _COMMAND + r"\(\((?!.*\)\)\s*\))", stops=False),
    _bashism("source", _COMMAND + r"source\s", stops=False),
    _bashism("pushd or popd", _COMMAND + r"(?:pushd|popd)\b", stops=False, in_busybox=True),
    _bashism("shopt", _COMMAND + r"shopt\b", stops=False, in_busybox=True),
    _bashism("declare", _COMMAND + r"(?:declare|typeset)\s", stops=False, in_busybox=True),
    _bashism("mapfile", _COMMAND + r"(?:mapfile|readarray)\b", stops=False, in_busybox=True),
    _bashism("let", _COMMAND + r"let\s+\w", stops=False),
    _bashism("&>", r"&>", stops=False),
    _bashism("== in [ ]", _COMMAND + r"\[\s[^]]*\s==\s", stops=False),
    _bashism("{1..9}", r"(?:^|\s)\S*\{\w+\.\.\w+\}", stops=False, in_busybox=True),
)

_GPU_IN_SHELL = re.compile(r"(?<![\w$])CUDA_VISIBLE_DEVICES=[\"']?([^\s\"';&|]*)")
_GPU_IN_PYTHON = re.compile(
    r"CUDA_VISIBLE_DEVICES[\"']\s*\]\s*=\s*[\"']?([^\"'\s)]*)|"
    r"(?:setdefault|putenv)\(\s*[\"']CUDA_VISIBLE_DEVICES[\"']\s*,\s*[\"']?([^\"'\s)]*)"
)
_GPU_BY_NUMBER = re.compile(r"\bcuda:([1-9]\d*)\b")

_DOWNLOAD_IN_SHELL = re.compile(
    r"(?:^|[\s;&|(])(wget\s|curl\s|aria2c\s|gdown\s|git\s+clone\b|git\s+lfs\s+pull\b|pip3?\s+(?:download|install)\b(?!.*--no-index)"
    r"|(?:apt-get|apt|yum|dnf|apk)\s+(?:\S+\s+)*(?:install|add)\b|(?:conda|mamba)\s+(?:install|create)\b|(?:huggingface-cli|hf)\s+download\b)"
)
_DOWNLOAD_IN_PYTHON = re.compile(
    r"\b(torch\.hub\.(?:load|download_url_to_file)|load_state_dict_from_url|model_zoo\.load_url|urlretrieve|urlopen"
    r"|requests\.(?:get|post)|hf_hub_download|snapshot_download|gdown\.\w+|pretrained\s*=\s*True"
    r"|from_pretrained\(\s*[\"'](?![./])[\w-]+/[\w.-]+[\"'])"
)


def byte_order_mark(data: bytes) -> str | None:
    """Return the encoding whose byte order mark a file begins with, or None."""
    return next((name for mark, name in BYTE_ORDER_MARKS.items() if data.startswith(mark)), None)


def windows_lines(data: bytes) -> int:
    """Return how many lines end in a carriage return, before a line feed or in the place of all of them."""
    return data.count(b"\r\n") or (data.count(b"\r") if b"\n" not in data else 0)


def interpreter(data: bytes) -> str:
    """Return the program that a script's `#!` names, without its folder; empty where there is none."""
    line = data.partition(b"\n")[0].decode("utf-8", "replace").lstrip("\ufeff").strip()
    if not line.startswith("#!"):
        return ""
    words = line[2:].split()
    if words and words[0].rpartition("/")[2] == "env":
        words = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
    return words[0].rpartition("/")[2] if words else ""


def bash_words(text: str, *, shell: str = "dash") -> tuple[Place, ...]:
    """Return what a script for `sh` says that only bash understands, the first place of each.

    Args:
        text: The script.
        shell: What `sh` is in the image: dash, busybox, or another.
    """
    if shell not in POSIX_SHELLS:
        return ()
    found: dict[str, Place] = {}
    for number, line in enumerate(shell_code(text).split("\n"), 1):
        for each in _BASHISMS:
            if (each.in_busybox or shell not in _ROUGH_SHELLS) and each.pattern.search(line):
                found.setdefault(each.what, Place(each.what, number, each.stops))
    return tuple(found.values())


def gpu_choices(text: str, *, python: bool = False) -> tuple[Place, ...]:
    """Return where a script chooses a GPU other than the only one, number 0, that a container sees."""
    found = []
    for number, line in enumerate(_without_comments(text), 1):
        for match in (_GPU_IN_PYTHON if python else _GPU_IN_SHELL).finditer(line):
            value = next((group for group in match.groups() if group is not None), "")
            if value != "0" and not value.startswith("$"):
                found.append(Place(f"CUDA_VISIBLE_DEVICES={value}", number))
        found += [Place(match[0], number) for match in _GPU_BY_NUMBER.finditer(line)]
    return tuple(found)


def downloads(text: str, *, python: bool = False) -> tuple[Place, ...]:
    """Return where a script asks for something that it can only get from a network."""
    pattern = _DOWNLOAD_IN_PYTHON if python else _DOWNLOAD_IN_SHELL
    return tuple(
        Place(" ".join(match[1].split()), number)
        for number, line in enumerate(_without_comments(text), 1)
        for match in pattern.finditer(line)
    )


def shell_code(text: str) -> str:
    """Return a shell script with comments, quoted text and here-documents blanked, its lines kept."""
    lines: list[str] = []
    ends: list[str] = []
    quote = ""
    for line in text.replace("\r", "").split("\n"):
        if ends:
            if line.strip() == ends[0]:
                ends.pop(0)
            lines.append("")
            continue
        code, quote = _blanked(line, quote)
        ends += [match[1] for match in re.finditer(r"(?<!<)<<-?\s*[\"'\\]?(\w+)", _marks(line, code))]
        lines.append(code)
    return "\n".join(lines)


def _marks(line: str, code: str) -> str:
    """Return the line where its code says a here-document begins: its end mark may be quoted."""
    at = re.search(r"(?<!<)<<(?!<)", code)
    return line[at.start() :] if at else ""


def _blanked(line: str, quote: str) -> tuple[str, str]:
    """Blank a line's quoted text and comment; expansions in double quotes stay.

    Args:
        line: The line.
        quote: The quote that was open before it, or nothing.
    """
    out: list[str] = []
    at = 0
    while at < len(line):
        char = line[at]
        if char == "\\" and quote != "'":
            out.append("  "[: len(line) - at])
            at += 2
            continue
        if quote:
            expansion = re.compile(r"\$\{[^}]*\}").match(line, at) if quote == '"' else None
            if expansion:
                out.append(expansion[0])
                at = expansion.end()
                continue
            quote = "" if char == quote else quote
            out.append(" ")
        elif char in "'\"":
            quote = char
            out.append(" ")
        elif char == "#" and (at == 0 or line[at - 1] in " \t;&|("):
            break
        else:
            out.append(char)
        at += 1
    return "".join(out), quote


def _without_comments(text: str) -> Iterator[str]:
    for line in text.split("\n"):
        yield "" if line.lstrip().startswith("#") else re.sub(r"\s#\s.*$", "", line)
