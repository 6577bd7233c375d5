"""Results in the formats of others: FLARE's tables and challengeR's."""

from harness.interop.challenger import write_challenger
from harness.interop.flare import write_flare

__all__ = ["write_challenger", "write_flare"]
