"""The judge's own copy of every seal, outside of the results: what was there once, whoever took it away.

    KEY.seals/RUN_SHA256/PLACE.json   {"results", "path", "seal"}, KEY being the key's file
    RESULTS/.id                       a name that a results folder keeps when it is moved

A run that was put back as it was at an earlier time has fewer lines than its registered seal says; a run that
is gone is still registered for its results folder. A copy of results may go ways of its own: what is
registered belongs to the place where it was written, or to where that place was moved.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Set
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.files import write_whole
from harness.results.key import Key, key_file
from harness.results.seal import Seal

ID_FILE = ".id"
_ID_BYTES = 16


class Registered(BaseModel):
    """A run as it was last sealed on this host, in one results folder.

    Attributes:
        results: The folder's name for itself.
        path: Where the folder was then.
        seal: The run's newest seal there.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    results: str
    path: str
    seal: Seal

    @property
    def name(self) -> str:
        """`CHALLENGE/TEAM/RUN`."""
        return f"{self.seal.challenge}/{self.seal.team}/{self.seal.run}"

    @property
    def file(self) -> Path:
        """Where this is kept."""
        place = hashlib.sha256(f"{self.results} {self.path}".encode()).hexdigest()[:16]
        return register_folder() / self.seal.run_sha256 / f"{place}.json"

    def belongs_to(self, results: Path) -> bool:
        """Whether this was written there, or in a folder that was moved there."""
        own = _id_of(results)
        if self.path == str(results.resolve()):
            return own in ("", self.results)
        return own == self.results and _id_of(Path(self.path)) != self.results


def register_folder() -> Path:
    """Return where seals are kept: beside the key."""
    key = key_file()
    return key.with_name(f"{key.name}.seals")


def register_seal(results: Path, seal: Seal, *, durable: bool = False) -> None:
    """Keep a copy of a seal.

    Args:
        results: The results folder; it is given a name if it has none.
        seal: The signed seal.
        durable: Whether it is on the disk on return.

    Raises:
        OSError: it cannot be written.
    """
    if not _id_of(results):
        write_whole(results / ID_FILE, secrets.token_hex(_ID_BYTES) + "\n")
    entry = Registered(results=_id_of(results), path=str(results.resolve()), seal=seal)
    entry.file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_whole(entry.file, entry.model_dump_json() + "\n", durable=durable)


def registered_seals(run_sha256: str, results: Path, key: Key) -> list[Seal]:
    """Return the seals that are registered for a run of a results folder, and signed by this key."""
    entries = _read((register_folder() / run_sha256).glob("*.json"), key)
    return [entry.seal for entry in entries if entry.belongs_to(results)]


def gone_runs(results: Path, present: Set[str], key: Key) -> list[Registered]:
    """Return what is registered for a results folder and not in it any more, by name.

    Args:
        results: The results folder.
        present: The hashes of run.json of all runs in it.
        key: This host's.
    """
    entries = _read(register_folder().glob("*/*.json"), key)
    path = str(results.resolve())
    # Its name may have been changed to hide what is gone; the runs that are left tell.
    former = {entry.results for entry in entries if entry.path == path and entry.seal.run_sha256 in present}
    gone = {
        entry.seal.run_sha256: entry
        for entry in entries
        if entry.seal.run_sha256 not in present
        and (entry.belongs_to(results) or (entry.path == path and entry.results in former))
    }
    return sorted(gone.values(), key=lambda entry: entry.name)


def forget_run(entry: Registered) -> None:
    """Take a run off the register."""
    entry.file.unlink(missing_ok=True)


def _id_of(results: Path) -> str:
    try:
        return (results / ID_FILE).read_text(encoding="ascii", errors="replace").strip()
    except (FileNotFoundError, NotADirectoryError):
        return ""


def _read(paths: Iterable[Path], key: Key) -> list[Registered]:
    entries = []
    for path in paths:
        try:
            entry = Registered.model_validate_json(path.read_bytes())
        except (FileNotFoundError, ValidationError):
            continue
        if key.signed(entry.seal.content(), entry.seal.hmac):
            entries.append(entry)
    return entries
