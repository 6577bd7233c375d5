"""One container of the Docker Engine API."""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import socket
import stat
import struct
import tarfile
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from docker.errors import APIError, NotFound

from harness.engine.answers import engine_answers, reason, refusal
from harness.engine.base import ExitState
from harness.engine.logs import LogKeeper
from harness.errors import InfrastructureError


class DockerContainer:
    """See `Container`."""

    def __init__(self, api: Any, identifier: str, log: LogKeeper, *, writable_root: bool) -> None:
        self._api = api
        self._log = log
        self._writable_root = writable_root
        self._gone = threading.Event()
        self._gone_time: float | None = None
        self._started: float | None = None
        self._wait_error: Exception | None = None
        self._stream: Any = None
        self._threads: list[threading.Thread] = []
        self.id = identifier

    root_pid: int | None = None
    _pid = 0

    def mode_of(self, path: str) -> int | None:
        """See `Container.mode_of`."""
        try:
            with engine_answers("looking into a container"):
                stream, found = self._api.get_archive(self.id, path)
        except APIError:
            return None
        stream.close()
        return _unix_mode(int(found["mode"]))

    def content_of(self, path: str, *, most_bytes: int) -> bytes | None:
        """See `Container.content_of`."""
        try:
            with engine_answers("looking into a container"):
                stream, found = self._api.get_archive(self.id, path)
                # A file larger than is asked for, or a folder of gigabytes, is not fetched.
                plain = stat.S_ISREG(_unix_mode(int(found["mode"]))) and int(found["size"]) <= most_bytes
                packed = b"".join(stream) if plain else b""
                stream.close()
        except APIError:
            return None
        if not plain:
            return None
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            file = archive.extractfile(archive.getmembers()[0])
            return file.read() if file is not None else None

    def owns(self, pid: int) -> bool:
        """See `Container.owns`: the engine names a container's cgroup after its id."""
        try:
            return self.id in Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8")
        except OSError:
            return False

    def start(self) -> None:
        """See `Container.start`. The streams are attached first, so that no line is lost."""
        try:
            with engine_answers("starting a container"):
                self._stream = self._api.attach_socket(self.id, {"stdout": 1, "stderr": 1, "stream": 1})
                self._run_beside(self._read_stream)
                asked = time.monotonic()
                self._api.start(self.id)
                self._started = time.monotonic()
        except APIError as error:
            raise refusal(error, "starting a container") from error
        self._run_beside(self._await_end)
        self._started = self._since(asked, self._started)

    def _since(self, asked: float, answered: float) -> float:
        """Return the earlier of the engine's answer to `start` and its own word on when that was done."""
        try:
            with engine_answers("inspecting a container"):
                state = self._api.inspect_container(self.id)["State"]
        except (APIError, InfrastructureError):
            return answered  # whoever waits for the container meets the same failure
        self._pid = int(state.get("Pid") or 0)
        told = _seconds(str(state.get("StartedAt") or ""))
        if told is None:
            return answered
        # The engine tells wall clock time, which may jump: its word counts within our own two times only.
        return min(answered, max(asked, told - time.time() + time.monotonic()))

    def started_at(self) -> float:
        """See `Container.started_at`."""
        assert self._started is not None, "it was started"
        return self._started

    def wait(self, timeout_s: float) -> bool:
        """See `Container.wait`."""
        gone = self._gone.wait(timeout_s)
        if gone and self._wait_error is not None:
            raise InfrastructureError(
                "the container engine went away while a case ran",
                where=reason(self._wait_error),
                mend="Start it and run the same command again: finished cases are kept.",
            ) from self._wait_error
        return gone

    def gone_at(self) -> float | None:
        """See `Container.gone_at`."""
        return self._gone_time

    def kill(self) -> None:
        """See `Container.kill`. Its init first, where we may: an engine in distress takes its time."""
        if self._pid and self.owns(self._pid):
            with contextlib.suppress(OSError):
                os.kill(self._pid, signal.SIGKILL)
        try:
            with engine_answers("killing a container"):
                self._api.kill(self.id, "SIGKILL")
        except APIError:
            return  # not running: it ended between our look and the kill

    def state(self) -> ExitState:
        """See `Container.state`."""
        self._join_stream()
        with engine_answers("inspecting a container"):
            state = self._api.inspect_container(self.id)["State"]
        return ExitState(
            exit_code=state.get("ExitCode"),
            oom_killed=bool(state.get("OOMKilled")),
            error=" ".join(str(state.get("Error") or "").split()),
        )

    def statistics(self) -> dict[str, Any]:
        """See `Container.statistics`."""
        try:
            with engine_answers("asking for a container's statistics"):
                return dict(self._api.stats(self.id, stream=False, one_shot=True))
        except (APIError, InfrastructureError):
            return {}  # it ended meanwhile, or this engine has none; one that is gone shows by itself

    def written_bytes(self) -> int:
        """See `Container.written_bytes`. Costs the engine a walk over what was written."""
        if not self._writable_root:
            return 0
        with engine_answers("asking for a container's size"):
            found = self._api.containers(all=True, size=True, filters={"id": self.id})
        return int(found[0].get("SizeRw") or 0) if found else 0

    def log(self) -> LogKeeper:
        """See `Container.log`."""
        return self._log

    def remove(self) -> None:
        """See `Container.remove`."""
        try:
            remove_container(self._api, self.id)
        finally:
            self._join_stream()

    def _run_beside(self, work: Any) -> None:
        thread = threading.Thread(target=work, daemon=True, name=f"{work.__name__}-{self.id[:12]}")
        thread.start()
        self._threads.append(thread)

    def _await_end(self) -> None:
        try:
            self._api.wait(self.id, timeout=None)
        except Exception as error:  # handed to whoever waits
            self._wait_error = error
        self._gone_time = time.monotonic()
        self._gone.set()

    def _read_stream(self) -> None:
        """Copy the multiplexed stream: frames of `stream, 0, 0, 0, length (big endian)` and payload."""
        descriptor = self._stream.fileno()
        os.set_blocking(descriptor, True)  # whatever time-out the SDK gave its socket
        header = b""
        left = 0
        while True:
            try:
                data = os.read(descriptor, 1 << 16)
            except OSError:
                return
            if not data:
                return
            while data:
                if left:
                    self._log.write(data[:left])
                    data, left = data[left:], max(0, left - len(data))
                    continue
                header, data = (header + data)[:8], data[8 - len(header) :]
                if len(header) == 8:
                    left = struct.unpack(">BxxxL", header)[1]
                    header = b""

    def _join_stream(self, timeout_s: float = 2.0) -> None:
        if self._stream is None:
            return
        reader = self._threads[0]
        reader.join(timeout_s)
        if reader.is_alive():
            duplicate = socket.socket(fileno=os.dup(self._stream.fileno()))
            duplicate.shutdown(socket.SHUT_RDWR)
            duplicate.close()
            reader.join(timeout_s)
        self._stream._response.close()  # the SDK hangs it on the stream; it holds the connection
        self._stream.close()
        self._stream = None


def remove_container(api: Any, identifier: str) -> None:
    """Remove a container and its volumes, running or not; one that is gone is no error."""
    try:
        with engine_answers("removing a container"):
            api.remove_container(identifier, force=True, v=True)
    except NotFound:
        return
    except APIError as error:
        if error.status_code != 409:  # 409: another removal of it is under way
            raise refusal(error, "removing a container") from error


def _seconds(timestamp: str) -> float | None:
    """Return the seconds since 1970 of a time as engines write it, with up to nine digits of a second."""
    whole = re.sub(r"(\.\d{6})\d*", r"\1", timestamp)
    try:
        moment = datetime.fromisoformat(whole)
    except ValueError:
        return None
    return moment.timestamp() if moment.year > 1970 else None


def _unix_mode(mode: int) -> int:
    """Return a Go file mode as the kernel's st_mode, as far as kind and permissions go."""
    kinds = ((1 << 31, stat.S_IFDIR), (1 << 27, stat.S_IFLNK), (1 << 26, stat.S_IFBLK))
    return next((kind for bit, kind in kinds if mode & bit), stat.S_IFREG) | mode & 0o777
