"""A file system of its own for what one container writes, as large as its output limit and no larger.

Counting files cannot see everything: a file that was deleted while open, one in a folder that is closed to
us, space that was reserved in a burst between two looks. A file system that lies in a file of the limit's
size ends all of them; it is mounted without set-uid bits and devices. That takes root and loop devices; an
ordinary user's harness counts instead, as far as counting goes (`harness.run.watch`).
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import struct
import subprocess
from contextlib import suppress
from pathlib import Path

from harness.errors import InfrastructureError

_INODES = 16384
"""More than a container may leave names, so that too many files are seen as that, not as a full disk."""
_SLACK_BYTES = 16 * 1024**2

_LOOP_CTL_GET_FREE = 0x4C82
_LOOP_CONFIGURE = 0x4C0A
_LO_FLAGS_AUTOCLEAR = 4
_LO_FLAGS_DIRECT_IO = 16  # or every page would be cached, and charged, twice
_MS_NOSUID, _MS_NODEV, _MS_NOATIME = 2, 4, 1024
_MNT_DETACH = 2
_TRIES = 8


def make_template(folder: Path, size_bytes: int) -> Path | None:
    """Make the empty file system that spaces are copies of, and try it; None where that cannot be done.

    Args:
        folder: Where it goes.
        size_bytes: What a container may write.
    """
    maker = shutil.which("mkfs.ext4", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if os.geteuid() != 0 or maker is None or not Path("/dev/loop-control").exists():
        return None
    template = folder / "empty.ext4"
    # A hundredth for the file system's own tables.
    kibibytes = (size_bytes + size_bytes // 50 + _SLACK_BYTES) // 1024
    options = ["-q", "-F", "-m", "0", "-b", "4096", "-N", str(_INODES), "-E", "nodiscard"]
    made = subprocess.run(
        [maker, *options, "-O", "^has_journal,^resize_inode", str(template), f"{kibibytes}k"],
        check=False,
        capture_output=True,
    )
    if made.returncode != 0:
        return None
    trial = folder / "trial"
    try:
        trial.mkdir(exist_ok=True)
        mount_space(template, trial)
    except (OSError, InfrastructureError):
        return None
    unmount_below(trial)
    return template


def mount_space(template: Path, folder: Path) -> None:
    """Mount a fresh copy of a template over an empty folder.

    Raises:
        InfrastructureError: no loop device is free, or the mount is refused.
        OSError: the disk is full.
    """
    image = folder.with_name(f"{folder.name}.img")
    _copy_sparse(template, image)
    try:
        device = _attach(image)
        try:
            _mount(str(Path(f"/proc/self/fd/{device}").readlink()), folder)
        finally:
            os.close(device)
    except OSError as error:
        raise InfrastructureError(
            f"the output's file system cannot be mounted: {error.strerror}", where=folder
        ) from error
    finally:
        image.unlink()  # it lives as long as it is mounted


def unmount_below(folder: Path) -> None:
    """Unmount our file systems at or below a folder, after emptying them: nothing of them is to be kept."""
    if os.geteuid() != 0:
        return
    prefix = os.fsencode(folder.resolve())
    for line in reversed(Path("/proc/self/mountinfo").read_bytes().splitlines()):
        before, _, after = line.partition(b" - ")
        place = before.split()[4].replace(b"\\040", b" ")
        ours = after.startswith(b"ext4 /dev/loop")
        if ours and (place == prefix or place.startswith(prefix + b"/")):
            # What is deleted need not be written back.
            subprocess.run(
                ["find", place, "-xdev", "-mindepth", "1", "-delete"], check=False, capture_output=True
            )
            _libc().umount2(place, _MNT_DETACH)


def used_bytes(folder: Path) -> int:
    """Return what is in use on the file system that a folder lies on."""
    found = os.statvfs(folder)
    return (found.f_blocks - found.f_bfree) * found.f_frsize


def _copy_sparse(source: Path, target: Path) -> None:
    with source.open("rb") as original, target.open("wb") as copy:
        size = os.fstat(original.fileno()).st_size
        copy.truncate(size)
        end = 0
        with suppress(OSError):  # ENXIO: no more data
            while end < size:
                start = os.lseek(original.fileno(), end, os.SEEK_DATA)
                end = os.lseek(original.fileno(), start, os.SEEK_HOLE)
                original.seek(start)
                copy.seek(start)
                copy.write(original.read(end - start))


def _attach(image: Path) -> int:
    """Return an open loop device over a file; the device goes free with its last user."""
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    backing = os.open(image, os.O_RDWR | os.O_CLOEXEC)
    # struct loop_config: fd, block size, struct loop_info64 (its flags at 52), reserved.
    config = bytearray(304)
    struct.pack_into("=II", config, 0, backing, 0)
    struct.pack_into("=I", config, 8 + 52, _LO_FLAGS_AUTOCLEAR | _LO_FLAGS_DIRECT_IO)
    try:
        for attempt in range(_TRIES):
            number = fcntl.ioctl(control, _LOOP_CTL_GET_FREE)
            device = os.open(f"/dev/loop{number}", os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.ioctl(device, _LOOP_CONFIGURE, bytes(config))
                return device
            except OSError:  # another process took it
                os.close(device)
                if attempt == _TRIES - 1:
                    raise
        raise AssertionError("unreachable")
    finally:
        os.close(backing)
        os.close(control)


def _mount(device: str, folder: Path) -> None:
    flags = _MS_NOSUID | _MS_NODEV | _MS_NOATIME
    if _libc().mount(device.encode(), os.fsencode(folder), b"ext4", flags, b"") != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(folder))


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mount.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p]
    libc.umount2.argtypes = [ctypes.c_char_p, ctypes.c_int]
    return libc
