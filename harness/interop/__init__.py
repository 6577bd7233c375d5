"""A challenge and its results in the formats of others: platforms, tables, references."""

from harness.interop.challenger import write_challenger
from harness.interop.flare import write_flare
from harness.interop.statistics import write_statistics
from harness.interop.tidy import write_tidy

__all__ = ["write_challenger", "write_flare", "write_statistics", "write_tidy"]
