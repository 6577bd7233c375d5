"""No container: runs a submission folder's `predict.sh` as a child process. Isolates nothing.

For development, and for GPU hosts without an engine. Rows made with it are marked. The submission's
code runs with the caller's rights, so it is for submissions that you trust.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from harness.engine.base import ContainerSpec, Declared, EngineFacts, ExitState, ImageInfo, StartRefused
from harness.engine.logs import LogKeeper
from harness.errors import ConfigurationError, PrerequisiteError

_NAME = "flareharness.name"
"""Label of a process that names its container, for `ProcessEngine.kill`."""

_HASHED_NOT = {"__pycache__", ".git", ".venv"}


def _content(folder: Path) -> Iterator[Path]:
    """Yield the files that say what a folder does, in a fixed order."""
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_file() and not _HASHED_NOT & set(parts) and not parts[0].endswith(".egg-info"):
            yield path


def open_engine(address: str | None = None) -> ProcessEngine:
    """See `harness.engine.registry`; there is nothing to connect to."""
    return ProcessEngine()


class ProcessEngine:
    """Runs submission folders; an "image" is a folder's path, its environment what a Dockerfile would set.

    Further folders after `os.pathsep` are what the folder's programs import: they belong to its digest.
    """

    facts = EngineFacts(
        name="process", version=platform.python_version(), isolated=False, cores=os.cpu_count() or 1
    )

    registered = "process"
    address = None
    images = None

    def import_image(self, archive: bytes, tag: str) -> None:
        """Refuse: an "image" is a folder here."""
        raise PrerequisiteError("the process engine runs folders, not images", mend="Use --engine docker.")

    def image(self, reference: str) -> ImageInfo:
        """Return the content hash of its folders as its digest.

        Raises:
            ConfigurationError: there is no `predict.sh` in the folder.
        """
        folder, *imported = (Path(name).resolve() for name in reference.split(os.pathsep))
        if not (folder / "predict.sh").is_file():
            raise ConfigurationError(
                "no predict.sh in this folder", where=folder, mend="Give the folder of a submission."
            )
        total, size = hashlib.sha256(), 0
        for root in (folder, *imported):
            for path in _content(root):
                total.update(f"{root.name}/{path.relative_to(root)}\0".encode())
                with path.open("rb") as file:
                    total.update(hashlib.file_digest(file, "sha256").digest())
                size += path.stat().st_size
        return ImageInfo(
            reference=str(folder),
            digest=f"sha256:{total.hexdigest()}",
            size_bytes=size,
            platform=f"{platform.system().lower()}/{platform.machine()}",
            source=str(folder),
        )

    def create(self, spec: ContainerSpec) -> ProcessContainer:
        """Prepare a process; `spec.image` is the folder."""
        given = dict(pair.split("=", 1) for pair in spec.image_environment)
        return ProcessContainer(replace(spec, environment=given | dict(spec.environment)))

    def copy_declared(
        self, image: ImageInfo, *, inside: tuple[str, ...], labels: Mapping[str, str]
    ) -> tuple[Declared, ...]:
        """Return nothing: a folder declares no volumes."""
        return ()

    def kill(self, name: str) -> None:
        """See `ContainerEngine.kill`."""
        self.reap(_NAME, name)

    def reap(self, label: str, value: str) -> int:
        """Kill processes that an earlier harness left, found by a variable in their environment."""
        marker = f"{_marker(label)}={value}".encode()
        found = 0
        for process in psutil.process_iter(["pid"]):
            with contextlib.suppress(OSError, psutil.Error):
                environment = Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
                if marker in environment and process.pid != os.getpid():
                    process.kill()
                    found += 1
        return found

    def ping(self) -> bool:
        """Return True: there is nothing that could be away."""
        return True

    def close(self) -> None:
        """Nothing is open."""


class ProcessContainer:
    """See `harness.engine.base.Container`."""

    def __init__(self, spec: ContainerSpec) -> None:
        self.id = spec.name
        self._spec = spec
        self._log = LogKeeper(spec.log_bytes)
        self._process: subprocess.Popen[bytes] | None = None
        self._gone = threading.Event()
        self._gone_time: float | None = None
        self._started = 0.0
        self._reader: threading.Thread | None = None

    @property
    def root_pid(self) -> int | None:
        """See `Container.root_pid`."""
        return self._process.pid if self._process is not None else None

    def owns(self, pid: int) -> bool:
        """See `Container.owns`."""
        return any(process.pid == pid for process in self._tree())

    def start(self) -> None:
        """See `Container.start`."""
        spec = self._spec
        places = {mount.target: str(mount.source) for mount in spec.mounts}
        environment = dict(os.environ) | {
            name: places.get(value, value) for name, value in spec.environment.items()
        }
        environment |= {_marker(label): value for label, value in spec.labels.items()}
        environment[_marker(_NAME)] = spec.name
        if spec.gpu is None:
            environment["CUDA_VISIBLE_DEVICES"] = ""
        else:
            environment["CUDA_VISIBLE_DEVICES"] = spec.gpu
        self._started = time.monotonic()
        try:
            self._process = subprocess.Popen(
                ["sh", "predict.sh"],
                cwd=spec.image,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise StartRefused(f"predict.sh cannot be started: {error.strerror}") from error
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        threading.Thread(target=self._await_end, daemon=True).start()

    def started_at(self) -> float:
        """See `Container.started_at`."""
        return self._started

    def content_of(self, path: str, *, most_bytes: int) -> bytes | None:
        """See `Container.content_of`: it sees this host's files, which say nothing of it."""
        return None

    def mode_of(self, path: str) -> int | None:
        """Return None: it has no files of its own."""
        return None

    def wait(self, timeout_s: float) -> bool:
        """See `Container.wait`."""
        return self._gone.wait(timeout_s)

    def gone_at(self) -> float | None:
        """See `Container.gone_at`."""
        return self._gone_time

    def kill(self) -> None:
        """See `Container.kill`. A process that left the session and lost its parent escapes."""
        tree = self._tree()
        for process in tree:
            with contextlib.suppress(psutil.Error):
                process.kill()
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def state(self) -> ExitState:
        """See `Container.state`."""
        self._join_reader()
        code = self._process.returncode if self._process is not None else None
        return ExitState(exit_code=128 - code if code is not None and code < 0 else code, oom_killed=False)

    def statistics(self) -> dict[str, Any]:
        """Return nothing: a process has no engine."""
        return {}

    def written_bytes(self) -> int:
        """Return 0: nothing confines what it writes elsewhere, so nothing is counted."""
        return 0

    def log(self) -> LogKeeper:
        """See `Container.log`."""
        return self._log

    def remove(self) -> None:
        """Kill what is left of it."""
        self.kill()
        self._gone.wait(10)
        self._join_reader()

    def _tree(self) -> list[psutil.Process]:
        if self._process is None:
            return []
        try:
            root = psutil.Process(self._process.pid)
            return [*root.children(recursive=True), root]
        except psutil.Error:
            return []

    def _await_end(self) -> None:
        assert self._process is not None
        self._process.wait()
        self._gone_time = time.monotonic()
        self._gone.set()

    def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        with self._process.stdout as stream:
            while data := os.read(stream.fileno(), 1 << 16):
                self._log.write(data)

    def _join_reader(self) -> None:
        # A daemon that it left behind may hold the pipe open.
        if self._reader is not None:
            self._reader.join(1.0)


def _marker(label: str) -> str:
    return label.upper().replace(".", "_")
