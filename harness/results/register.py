"""The judge's own copy of every seal, outside of the results: what was there once, whoever took it away.

    KEY.seals/RUN_SHA256.json   {"results": "...", "seal": {...}}, KEY being the key's file
    RESULTS/.id                 which results folder this is, wherever it is moved to

A run that was put back as it was at an earlier time has fewer lines than its registered seal says; a run that
is gone is still registered for its results folder.
"""

from __future__ import annotations

import secrets
from collections.abc import Set
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.files import write_whole
from harness.results.key import Key, key_file
from harness.results.seal import Seal

ID_FILE = ".id"
_ID_BYTES = 16


class Registered(BaseModel):
    """A run as it was last sealed on this host.

    Attributes:
        results: Which results folder it belongs to.
        seal: Its newest seal.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    results: str
    seal: Seal

    @property
    def name(self) -> str:
        """`CHALLENGE/TEAM/RUN`."""
        return f"{self.seal.challenge}/{self.seal.team}/{self.seal.run}"


def register_folder() -> Path:
    """Return where seals are kept: beside the key."""
    key = key_file()
    return key.with_name(f"{key.name}.seals")


def register_seal(results: str, seal: Seal, *, durable: bool = False) -> None:
    """Keep a copy of a seal.

    Args:
        results: From `results_id`.
        seal: The signed seal.
        durable: Whether it is on the disk on return.

    Raises:
        OSError: it cannot be written.
    """
    folder = register_folder()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    content = Registered(results=results, seal=seal).model_dump_json() + "\n"
    write_whole(_place(seal.run_sha256), content, durable=durable)


def registered_seal(run_sha256: str, key: Key) -> Registered | None:
    """Return what is registered for a run; None if nothing is that this key signed."""
    return _read(_place(run_sha256), key)


def results_id(results: Path) -> str:
    """Return the name that a results folder was given at first use, which it keeps when it is moved.

    Raises:
        OSError: it cannot be read or written.
    """
    path = results / ID_FILE
    if not path.is_file():
        write_whole(path, secrets.token_hex(_ID_BYTES) + "\n")
    return path.read_text(encoding="ascii", errors="replace").strip()


def gone_runs(results: Path, present: Set[str], key: Key) -> list[Registered]:
    """Return what is registered for a results folder and not in it any more, by name.

    Args:
        results: The results folder.
        present: The hashes of run.json of all runs in it.
        key: This host's.
    """
    entries = [entry for path in register_folder().glob("*.json") if (entry := _read(path, key)) is not None]
    ours = {entry.results for entry in entries if entry.seal.run_sha256 in present}
    if (results / ID_FILE).is_file():
        ours.add(results_id(results))
    gone = (
        entry for entry in entries if entry.results in ours and entry.seal.run_sha256 not in present
    )
    return sorted(gone, key=lambda entry: entry.name)


def forget_run(entry: Registered) -> None:
    """Take a run off the register."""
    _place(entry.seal.run_sha256).unlink(missing_ok=True)


def _place(run_sha256: str) -> Path:
    return register_folder() / f"{run_sha256}.json"


def _read(path: Path, key: Key) -> Registered | None:
    try:
        entry = Registered.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
    return entry if key.signed(entry.seal.content(), entry.seal.hmac) else None
