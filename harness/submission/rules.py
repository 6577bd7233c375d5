"""The rules of lint: each takes what an image holds and how it is judged, and yields what it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import PurePosixPath
from typing import Literal

from harness.submission import drivers
from harness.submission.contents import MOST_ENTRIES, Node, is_in_library, is_weights
from harness.submission.findings import CASE_USER, Finding, ImageContents, Judge
from harness.submission.script_rules import SCRIPT_RULES, entry_scripts
from harness.submission.volume_rules import about_medical_volumes

LARGE_BYTES = 10 * 1024**3
"""Images of this size take minutes to hand in and to load."""

_LFS = b"version https://git-lfs.github.com/spec/"
_MOST_NAMED = 3
_SHELLS = frozenset({"sh", "bash", "dash", "ash", "zsh"})
_PASSING = frozenset(
    {"tini", "tini-static", "dumb-init", "env", "nvidia_entrypoint.sh", "docker-entrypoint.sh", "catatonit",
     "gosu", "su-exec", "_entrypoint.sh", "entrypoint-no-chown"}
)  # fmt: skip
"""Entrypoints that are known to run the command that they get."""


def _platform(image: ImageContents, judge: Judge) -> Iterator[Finding]:
    if image.platform not in ("", judge.platform):
        yield Finding(
            "error",
            "platform",
            f"the image is for {image.platform}, the judge's engine runs {judge.platform}",
            f"Build it with --platform {judge.platform}.",
        )


def _programs(image: ImageContents, judge: Judge) -> Iterator[Finding]:
    """The command's program must be there; its scripts have rules of their own."""
    if judge.command and judge.command[0].startswith("/"):
        path = judge.command[0]
        _, node = image.tree.find(path)
        if node is None or node.kind == "folder":
            yield Finding("error", "missing", f"the image has no {path}", "Install it.")
        elif (closed := image.tree.closed_to(path, judge.uid, judge.uid)) is not None:
            yield _unreadable(path, closed)


def _unreadable(path: str, closed: str) -> Finding:
    return Finding(
        "error",
        "unreadable",
        f"{path} cannot be read by an ordinary user: {closed}",
        f"RUN chmod -R a+rX {_place(closed)}, or set requires_root = true.",
    )


def _entry(image: ImageContents, judge: Judge) -> Iterator[Finding]:
    """predict.sh: there, a file, readable."""
    for script in entry_scripts(judge):
        path = image.at_work(script)
        own, link = image.tree.find(path, follow=False)
        real, node = image.tree.find(path)
        if link is None:
            yield Finding(
                "error",
                "missing",
                f"the image has no {path}{_elsewhere(image, script)}",
                f"COPY it to {image.working_folder}, the image's WORKDIR.",
            )
        elif link.kind == "symlink" and (node is None or _is_mounted(real, judge)):
            yield Finding(
                "error",
                "missing",
                f"{own} is a link to {link.target}, which no container of the image has",
                "COPY the file itself.",
            )
        elif node is not None and node.kind == "folder":
            yield Finding(
                "error", "entry", f"{path} is a folder, not a script", "COPY the file predict.sh itself."
            )
        elif node is not None and node.kind != "file":
            yield Finding("error", "entry", f"{path} is a {node.kind}, not a script", "COPY the file itself.")
        else:
            if link.kind == "symlink":
                yield Finding(
                    "warning",
                    "entry",
                    f"{own} is a link to {real}",
                    "COPY the file itself, so that it is what is judged.",
                )
            if (closed := image.tree.closed_to(path, judge.uid, judge.uid)) is not None:
                yield _unreadable(path, closed)


def _elsewhere(image: ImageContents, script: str) -> str:
    """Say where else a script of that name is, or one that is nearly called so."""
    name = PurePosixPath(script).name
    own = [path for path, _ in image.tree.files() if not is_in_library(path)]
    there = [path for path in own if PurePosixPath(path).name == name]
    there += [path for path in own if PurePosixPath(path).name.lower().startswith(name.lower())]
    return f"; there is {there[0]}" if there else ""


def _is_mounted(path: str, judge: Judge) -> bool:
    return any(path == folder or path.startswith(f"{folder}/") for folder in judge.folders)


def _start(image: ImageContents, judge: Judge) -> Iterator[Finding]:
    """What no engine can start, or mount over."""
    _, folder = image.tree.find(image.working_folder)
    if folder is not None and folder.kind != "folder":
        yield Finding(
            "error",
            "start",
            f"the image's WORKDIR {image.working_folder} is a {folder.kind}",
            "Name a folder.",
        )
    for path in judge.folders:
        real, node = image.tree.find(path)
        if node is not None and node.kind != "folder":
            yield Finding(
                "error",
                "start",
                f"{path} is a {node.kind} in the image, so nothing can be mounted there",
                "Remove it.",
            )
        elif real != path and image.tree.find(path, follow=False)[0] != real:
            yield Finding(
                "warning",
                "start",
                f"{path} is a link to {real} in the image",
                "Make it a folder, or leave it out.",
            )
    for entry in image.environment:
        if not entry.partition("=")[0]:
            yield Finding(
                "error", "start", f"the image sets a variable without a name, {entry!r}", "Remove that ENV."
            )


def _entrypoint(image: ImageContents, judge: Judge) -> Iterator[Finding]:
    if judge.command is None or not image.entrypoint:
        return
    level, why = _what_entrypoint_does(image)
    if level is not None:
        yield Finding(
            level,
            "entrypoint",
            f"the image's ENTRYPOINT, {' '.join(image.entrypoint)}, {why}",
            'Remove it, or end it with exec "$@".',
        )


def _what_entrypoint_does(image: ImageContents) -> tuple[Literal["error", "warning"] | None, str]:
    first, *rest = image.entrypoint
    name = PurePosixPath(first).name
    if name in _PASSING:
        # tini, dumb-init: what follows -- is run before the command.
        own = rest[rest.index("--") + 1 :] if "--" in rest else []
        return (None, "") if not own else ("warning", "gets the judge's command as its arguments")
    if name in _SHELLS and "-c" in rest:
        text = " ".join(rest[rest.index("-c") + 1 :])
        return (None, "") if '"$@"' in text else ("error", "runs a command of its own and never the judge's")
    if name in _SHELLS and not rest:
        return "error", "takes /bin/bash, the first word of the judge's command, for a script"
    path = image.at_work(rest[0] if name in _SHELLS else first)
    real, node = image.tree.find(path)
    if PurePosixPath(real).name in _PASSING:
        return None, ""
    text = node.head.decode("utf-8", "replace") if node is not None else ""
    if node is not None and node.head and PurePosixPath(real).suffix in (".sh", ".bash"):
        passes = '"$@"' in text or "$@" in text or "$*" in text
        return (None, "") if passes else ("error", "never runs the command that it gets")
    if name.startswith("python") or name in ("conda", "mamba", "micromamba", "poetry", "uv"):
        passes = name in ("conda", "mamba", "micromamba", "poetry", "uv") and "run" in rest
        return (None, "") if passes else ("error", "takes the judge's command for arguments of its own")
    return "warning", "gets the judge's command as its arguments"


def _user(image: ImageContents, judge: Judge) -> Iterator[Finding]:
    user = image.user.partition(":")[0]
    if judge.requires_root:
        return
    if user in ("", "root") or (user.isdecimal() and int(user) == 0):
        yield Finding(
            "warning",
            "user",
            "the image's user is root; it will be run as an ordinary user",
            f"Set USER {CASE_USER} to see the same at home; if it needs root, set requires_root = true.",
        )
    elif user != str(CASE_USER) and (owned := _own_files(image, user)):
        yield Finding(
            "warning",
            "user",
            f"the image's user is {user}; it will be run as {CASE_USER}, who cannot write {owned}",
            f"Set USER {CASE_USER} to see the same at home; write to /tmp and the outputs alone.",
        )


def _own_files(image: ImageContents, user: str) -> str:
    """Return a folder that the image's user owns, which another one cannot write to."""
    _, node = image.tree.find(image.working_folder)
    owned = node is not None and node.uid not in (0, CASE_USER) and not node.mode & 0o002
    return image.working_folder if owned and (not user.isdecimal() or node.uid == int(user)) else ""  # type: ignore[union-attr]


def _loader(image: ImageContents, _judge: Judge) -> Iterator[Finding]:
    for name, value in sorted(image.variables.items()):
        if name.startswith("LD_"):
            level: Literal["error", "warning"] = "error" if name in ("LD_PRELOAD", "LD_AUDIT") else "warning"
            yield Finding(
                level,
                "loader",
                f"the image sets {name}={value}, which changes what every program loads",
                f"Remove ENV {name}.",
            )


def _gpu(image: ImageContents, judge: Judge) -> Iterator[Finding]:
    """A GPU by number, and a driver that the judge may not have."""
    chosen = image.variables.get("CUDA_VISIBLE_DEVICES")
    if chosen not in (None, "0", "all"):
        yield Finding(
            "warning",
            "gpu",
            f"the image sets CUDA_VISIBLE_DEVICES={chosen}; a container sees one GPU, number 0",
            "Remove that ENV.",
        )
    required = image.variables.get("NVIDIA_REQUIRE_CUDA", "").strip()
    if not required or image.variables.get("NVIDIA_DISABLE_REQUIRE", "").lower() in ("1", "true", "yes"):
        return
    if not judge.driver:
        yield Finding(
            "warning",
            "driver",
            f"the image starts on a GPU only where the driver has {required[:200]} (NVIDIA_REQUIRE_CUDA)",
            "Name the judge's driver with --driver to have it compared.",
        )
    elif not drivers.is_satisfied(required, judge.driver):
        has = f"{judge.driver} has CUDA {'.'.join(map(str, drivers.cuda_of(judge.driver)))}"
        yield Finding(
            "error",
            "driver",
            f"the image needs {required[:200]} (NVIDIA_REQUIRE_CUDA); the judge's driver {has}",
            "Build on an older CUDA image, or ask the judge for a newer driver.",
        )


def _volumes(image: ImageContents, judge: Judge) -> Iterator[Finding]:
    impossible = [volume for volume in image.declared_volumes if not _can_be_mounted(volume)]
    if impossible:
        yield Finding(
            "error", "start", f"no engine can mount VOLUME {' '.join(impossible)}", "Remove the VOLUME lines."
        )
    if not image.declared_volumes:
        return
    below = [
        path
        for path in [*map(image.at_work, entry_scripts(judge)), *(path for path, _ in _weights(image))]
        if any(path.startswith(f"{volume.rstrip('/')}/") for volume in image.declared_volumes)
    ]
    harm = f"with {_some(below)} below it" if below else "which is scratch within the memory limit"
    yield Finding(
        "warning",
        "volume",
        f"the image declares VOLUME {' '.join(image.declared_volumes)}, {harm}",
        "Remove the VOLUME lines: many engines lose what lies there; scratch space is /tmp.",
    )


def _can_be_mounted(volume: str) -> bool:
    return volume.startswith("/") and not f"{volume}/".startswith(("/proc/", "/sys/", "/dev/"))


def _health_check(image: ImageContents, _judge: Judge) -> Iterator[Finding]:
    if image.health_check:
        yield Finding(
            "warning",
            "healthcheck",
            f"the image has a HEALTHCHECK, {' '.join(image.health_check)}, run beside the measured one",
            "Remove it, or set HEALTHCHECK NONE.",
        )


def _weights(image: ImageContents) -> Iterator[tuple[str, Node]]:
    for path, node in image.tree.files():
        if is_weights(path, node.size):
            yield path, node


def _unreadable_weights(image: ImageContents, judge: Judge) -> Iterator[Finding]:
    closed = {}
    for path, _ in _weights(image):
        why = image.tree.closed_to(path, judge.uid, judge.uid)
        if why is not None:
            closed[path] = why
    if closed:
        first = next(iter(closed))
        at_home = (
            " /root is the home of root alone." if any(path.startswith("/root/") for path in closed) else ""
        )
        yield Finding(
            "error",
            "weights",
            f"weights that an ordinary user cannot read: {_some(list(closed))}; closed at {closed[first]}",
            f"COPY them to {image.working_folder}, or RUN chmod -R a+rX {_place(closed[first])}.{at_home}",
        )


def _pointers(image: ImageContents, _judge: Judge) -> Iterator[Finding]:
    pointers = [path for path, node in image.tree.files() if node.head.startswith(_LFS)]
    if pointers:
        yield Finding(
            "error",
            "lfs",
            f"{len(pointers)} file(s) are Git LFS pointers of a few lines, not weights: {_some(pointers)}",
            "Run `git lfs pull` before the build.",
        )


def _size(image: ImageContents, _judge: Judge) -> Iterator[Finding]:
    if image.size_bytes > LARGE_BYTES:
        yield Finding(
            "warning",
            "size",
            f"the image has {image.size_bytes / 1024**3:.1f} GiB",
            "Leave package caches, training code and development files out.",
        )
    if not image.tree.is_complete:
        yield Finding(
            "warning",
            "size",
            f"the image has more than {MOST_ENTRIES} files, and the rest was not looked at",
            "Leave package caches and development files out.",
        )


def _medical(image: ImageContents, _judge: Judge) -> Iterator[Finding]:
    yield from about_medical_volumes(image.volumes)


def _place(closed: str) -> str:
    """Return the path of what `ImageTree.closed_to` found closed."""
    return closed.rpartition(" (mode ")[0]


def _some(paths: Iterable[str]) -> str:
    paths = list(paths)
    more = f" and {len(paths) - _MOST_NAMED} more" if len(paths) > _MOST_NAMED else ""
    return f"{', '.join(paths[:_MOST_NAMED])}{more}"


RULES: tuple[Callable[[ImageContents, Judge], Iterator[Finding]], ...] = (
    _platform,
    _start,
    _programs,
    _entry,
    *SCRIPT_RULES,
    _entrypoint,
    _user,
    _loader,
    _gpu,
    _volumes,
    _health_check,
    _unreadable_weights,
    _pointers,
    _medical,
    _size,
)
