"""What a command line owes to terminals, pipes, locales and disks of every kind."""

from __future__ import annotations

import errno
import os
import sys
from typing import TextIO, cast

_PLAIN = {
    errno.ENOSPC: ("the disk is full", "Free some space and run again: what is finished is kept."),
    errno.EDQUOT: ("the disk quota is used up", "Free some space and run again: what is finished is kept."),
    errno.EROFS: ("the disk is read-only", "Name a folder that can be written."),
    errno.EACCES: ("permission denied", "Check its owner and mode, or name another."),
    errno.EPERM: ("the system does not permit it", "Check its owner and mode, or name another."),
    errno.ENOENT: ("there is no such file or folder", "Check the path."),
    errno.ENOTDIR: ("part of the path is a file and no folder", "Name another folder."),
    errno.EISDIR: ("it is a folder and no file", "Name a file."),
    errno.ENAMETOOLONG: ("the name is too long", "Choose a shorter one."),
    errno.EIO: ("the disk does not read or write as it should", "Check the disk, then run again."),
    errno.ESTALE: ("the network share has lost the file", "Mount it again, then run again."),
    errno.EMFILE: ("too many files are open", "Raise the limit with `ulimit -n`."),
}


def in_words(error: OSError) -> tuple[str, str, str]:
    """Return what the system refused, where, and the mend."""
    text = (error.strerror or str(error) or type(error).__name__).strip()
    what, mend = _PLAIN.get(error.errno or 0, (text[:1].lower() + text[1:], ""))
    where = error.filename if isinstance(error.filename, (str, bytes, os.PathLike)) else ""
    return what, os.fsdecode(where), mend


def speak_utf8() -> None:
    """Start this program again in UTF-8 mode where the locale would read names as something else.

    Names of cases and records are UTF-8 in every locale. Signs that a terminal cannot show are replaced.
    """
    if sys.getfilesystemencoding().lower() != "utf-8" and os.environ.get("PYTHONUTF8") != "1":
        os.execve(sys.executable, sys.orig_argv, os.environ | {"PYTHONUTF8": "1"})
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            cast(TextIO, stream).reconfigure(errors="replace")  # type: ignore[attr-defined]


def leave_quietly() -> None:
    """Let go of a standard output that nobody reads any more, so that leaving says nothing of it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
