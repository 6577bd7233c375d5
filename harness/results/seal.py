"""The closing seal of a run: how many lines its journals have, who it belongs to, signed by the judge's key.

    seal.json   {"run", "team", "challenge", "run_sha256", "cases": {"lines", "last_sha256"}, "scores": ...,
                 "key", "hmac"}

Each line of a journal is signed as well, so lines that a power cut left beyond the seal are still known as
the harness's own; lines that are missing show against the counts.
"""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.files import write_whole
from harness.results.key import Key

SEAL_FILE = "seal.json"


class JournalEnd(BaseModel):
    """Where a journal ended when it was sealed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    lines: int
    last_sha256: str


class Seal(BaseModel):
    """What a run's folder held when it was last written to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str
    team: str
    challenge: str
    run_sha256: str
    cases: JournalEnd
    scores: JournalEnd
    key: str
    hmac: str = ""

    def content(self) -> bytes:
        """Return what the signature is over."""
        return json.dumps(self.model_dump(exclude={"hmac"}), sort_keys=True, separators=(",", ":")).encode()

    def signed_by(self, key: Key) -> Seal:
        """Return the seal with its signature."""
        return self.model_copy(update={"hmac": key.sign(self.content())})


def write_seal(folder: Path, seal: Seal, *, durable: bool = False) -> None:
    """Write `seal.json`, whole or not at all."""
    write_whole(folder / SEAL_FILE, seal.model_dump_json(indent=1) + "\n", durable=durable)


def read_seal(folder: Path) -> Seal | None:
    """Return a run's seal; None if it has none or it is damaged."""
    try:
        return Seal.model_validate_json((folder / SEAL_FILE).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
