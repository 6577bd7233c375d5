"""The rules of lint about scripts: predict.sh, and what lies beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import PurePosixPath

from harness.submission import scripts
from harness.submission.contents import Node, is_in_library
from harness.submission.findings import Finding, ImageContents, Judge

_SHELL_WORDS = frozenset({"sh", "bash", "dash", "ash", "zsh", "ksh", "source", "."})
_MOST_NAMED = 4
_FIRST_BYTES = 64


def entry_scripts(judge: Judge) -> tuple[str, ...]:
    """Return the scripts that the judge's command names, as it names them."""
    return tuple(script for script, _ in _entries(judge))


def _entries(judge: Judge) -> list[tuple[str, str]]:
    """Return each script of the command with the shell that runs it, empty where it runs itself."""
    words = " ".join((judge.command or ())[1:]).split()
    found = []
    for before, word in zip(["", *words], words, strict=False):
        if word.endswith(".sh"):
            name = PurePosixPath(before).name
            found.append((word, name if name in _SHELL_WORDS else ""))
    return found


def _entry_nodes(image: ImageContents, judge: Judge) -> Iterator[tuple[str, str, Node]]:
    for script, shell in _entries(judge):
        path = image.at_work(script)
        _, node = image.tree.find(path)
        if node is not None and node.kind == "file":
            yield path, shell, node


def _all_scripts(image: ImageContents, judge: Judge) -> Iterator[tuple[str, Node]]:
    """Yield predict.sh and every script of the image's own code."""
    seen = set()
    for path, _, node in _entry_nodes(image, judge):
        seen.add(image.tree.find(path)[0])
        yield path, node
    for path, node in image.tree.files():
        if (
            node.head
            and path not in seen
            and path.endswith((".sh", ".bash", ".py"))
            and not is_in_library(path)
        ):
            yield path, node


def _encoding(image: ImageContents, judge: Judge) -> Iterator[Finding]:
    """Line ends, byte order marks, emptiness."""
    for path, _, node in _entry_nodes(image, judge):
        mark = scripts.byte_order_mark(node.head)
        if mark == "UTF-16":
            yield Finding(
                "error", "encoding", f"{path} is UTF-16 text, which no shell reads", "Save it as UTF-8."
            )
        elif mark is not None:
            yield Finding(
                "error",
                "encoding",
                f"{path} begins with a byte order mark (BOM), so sh does not know its first line",
                "Save it as UTF-8 without BOM.",
            )
        elif b"\0" in node.head[:_FIRST_BYTES]:
            yield Finding(
                "error",
                "encoding",
                f"{path} holds zero bytes: a program, or UTF-16 text, and sh reads neither",
                "Save it as UTF-8; let it start a program by its path.",
            )
        if node.size == 0:
            yield Finding("error", "entry", f"{path} is empty", "COPY the script that predicts.")
        elif len(node.head) == node.size and not _does_anything(node.head):
            yield Finding(
                "error", "entry", f"{path} holds comments and nothing else", "COPY the script that predicts."
            )
    wrong = [
        path
        for path, node in _all_scripts(image, judge)
        if _is_shell(path) and scripts.windows_lines(node.head)
    ]
    if wrong:
        yield Finding(
            "error",
            "line-ends",
            f"{_some(wrong)}: Windows line ends (CRLF), which sh takes for a part of each word",
            "Convert with sed -i 's/\\r$//', and keep them so with *.sh text eol=lf in .gitattributes.",
        )


def _does_anything(script: bytes) -> bool:
    lines = (line.strip() for line in script.splitlines())
    return any(line and not line.startswith(b"#") for line in lines)


def _is_shell(path: str) -> bool:
    return path.endswith((".sh", ".bash"))


def _shell_of(image: ImageContents, shell: str, node: Node) -> str:
    """Return what reads a script: the image's own `sh` may be a link to another shell."""
    if shell in ("", ".", "source"):
        shell = scripts.interpreter(node.head) if shell == "" else "bash"
    if shell != "sh":
        return shell
    for path in ("/bin/sh", "/usr/bin/sh"):
        real, found = image.tree.find(path)
        if found is not None:
            name = PurePosixPath(real).name
            return "dash" if name == "sh" else name
    return "dash"


def _words(image: ImageContents, judge: Judge) -> Iterator[Finding]:
    """`#!` and bash's words in what `sh` reads."""
    for path, shell, node in _entry_nodes(image, judge):
        named = scripts.interpreter(node.head)
        if shell and named and named not in (shell, *scripts.POSIX_SHELLS):
            is_shell = named in _SHELL_WORDS
            main = f"main{'.sh' if is_shell else ''}"
            yield Finding(
                "warning" if is_shell else "error",
                "interpreter",
                f"the #! of {path} names {named}; `{shell} {PurePosixPath(path).name}` ignores it",
                f"Write it for {shell}, or let it start another: exec {named} {main}.",
            )
        reader = _shell_of(image, shell, node)
        words = scripts.bash_words(_text(node), shell=reader)
        if words:
            knows = "sh" if reader == "dash" else reader
            stops = any(word.stops for word in words)
            yield Finding(
                "error" if stops else "warning",
                "bash",
                f"{path} is read by {knows}, which does not know {_some(words)}",
                'Write it for sh, or let it start another: exec bash main.sh "$@".',
            )


def _gpu_choice(image: ImageContents, judge: Judge) -> Iterator[Finding]:
    found = _found(image, judge, scripts.gpu_choices)
    if found:
        yield Finding(
            "warning",
            "gpu",
            f"{_some(found)}: a container sees one GPU, number 0, so CUDA_VISIBLE_DEVICES and cuda:N hide it",
            "Remove the choice; the judge attaches the GPU.",
        )


def _downloads(image: ImageContents, judge: Judge) -> Iterator[Finding]:
    found = _found(image, judge, scripts.downloads)
    if found:
        yield Finding(
            "warning",
            "download",
            f"{_some(found)}: a case has no network, so a download fails",
            "Download it in the Dockerfile, and load it from a file.",
        )


def _found(image: ImageContents, judge: Judge, look: Callable[..., Sequence[scripts.Place]]) -> list[str]:
    return [
        f"{path}: {place}"
        for path, node in _all_scripts(image, judge)
        for place in look(_text(node), python=path.endswith(".py"))
    ]


def _text(node: Node) -> str:
    return node.head.decode("utf-8", "replace").removeprefix("\ufeff")


def _some(found: Sequence[object]) -> str:
    more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
    return f"{', '.join(map(str, found[:_MOST_NAMED]))}{more}"


SCRIPT_RULES: tuple[Callable[[ImageContents, Judge], Iterator[Finding]], ...] = (
    _encoding,
    _words,
    _gpu_choice,
    _downloads,
)
