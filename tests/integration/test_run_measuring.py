"""What counts as a container's memory on this host: known amounts of each kind, on cgroup version 1 or 2.

With -s each test prints what it measured; docs/measurement.md compares both versions.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest
from containers import MIB, Arena

from harness.engine.probe import TOOLS
from harness.measure.cgroup import find_hierarchy
from harness.results.records import ExecutionRecord

pytestmark = pytest.mark.engine

HELD_S = 2
"""Long enough for several samples of the working set."""

NOTHING = f"sleep {HELD_S}"
ANONYMOUS = f"perl -e 'my $x = \"\"; vec($x, 64 * 1048576 - 1, 8) = 1; sleep {HELD_S}'"
SPIKE = f"perl -e '{{ my $x = \"\"; vec($x, 64 * 1048576 - 1, 8) = 1; undef $x; }} sleep {HELD_S}'"
TMPFS = f"dd if=/dev/zero of=/tmp/x bs=1M count=64 2>/dev/null; sleep {HELD_S}"
FILE = f'dd if=/dev/zero of="$FLARE_OUTPUTS/x" bs=1M count=40 2>/dev/null; sleep {HELD_S}'
# Sent over the loopback and never read: the kernel holds it in socket buffers. It prints how many bytes.
SOCKETS = """perl -MSocket -e '
socket(my $server, PF_INET, SOCK_STREAM, 0);
bind($server, sockaddr_in(9999, INADDR_LOOPBACK)) or die;
listen($server, 64);
my ($sent, @open) = (0);
for (1 .. 24) {
    socket(my $client, PF_INET, SOCK_STREAM, 0); connect($client, getsockname($server)) or die;
    accept(my $peer, $server); push @open, $client, $peer;
    while (my $n = send($client, "x" x 65536, MSG_DONTWAIT)) { $sent += $n; }
}
print "$sent\\n"; sleep 2'"""


@dataclass(frozen=True)
class Measured:
    """One container's memory by the record, in MiB."""

    peak: float
    working_set: float
    record: ExecutionRecord


def perl() -> dict[str, bytes]:
    """Debian's small Perl, which every Debian has; nothing where it is missing."""
    folder = Path("/usr/lib/x86_64-linux-gnu/perl-base")
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def measured(arena: Arena, script: str, what: str) -> Measured:
    results = arena.run(script, perl(), tools=(*TOOLS, "perl"), memory_bytes=512 * MIB, tmp_bytes=128 * MIB)
    (record,) = results.executions
    usage = record.usage
    assert usage.peak_memory_bytes is not None and usage.peak_working_set_bytes is not None, record.evidence
    found = Measured(usage.peak_memory_bytes / MIB, usage.peak_working_set_bytes / MIB, record)
    print(f"\n{usage.peak_memory_method}, {what}: ", end="")
    print(f"peak {found.peak:.1f} MiB, working set {found.working_set:.1f} MiB")
    return found


@pytest.fixture(autouse=True)
def needs_perl() -> None:
    if not perl():
        pytest.skip("NO PERL-BASE: this is no Debian on x86-64")


def test_an_empty_container_uses_next_to_nothing(arena: Arena) -> None:
    found = measured(arena, NOTHING, "nothing")
    assert found.working_set <= found.peak < 16


def test_memory_of_programs_is_in_peak_and_working_set(arena: Arena) -> None:
    found = measured(arena, ANONYMOUS, "64 MiB of a program")
    assert 64 <= found.peak < 64 + 16
    assert 64 <= found.working_set <= found.peak


def test_memory_that_is_held_for_a_moment_only_is_in_peak_and_working_set(arena: Arena) -> None:
    """It comes and goes between two samples, ten of which are taken a second."""
    found = measured(arena, SPIKE, "64 MiB for a moment")
    assert found.working_set <= found.peak < 64 + 16
    assert found.peak >= 64
    if found.record.usage.peak_working_set_method == "interval-peaks":
        assert found.working_set >= 64
    else:
        hierarchy = find_hierarchy()
        assert hierarchy is not None and hierarchy.version == 2  # before Linux 6.12 nothing can be set back


def test_files_in_tmp_are_in_peak_and_working_set(arena: Arena) -> None:
    found = measured(arena, TMPFS, "64 MiB in /tmp")
    assert 64 <= found.peak < 64 + 16
    assert 64 <= found.working_set <= found.peak


def test_the_cache_of_files_is_in_the_peak_and_not_in_the_working_set(arena: Arena) -> None:
    found = measured(arena, FILE, "40 MiB written to a disk")
    # A host short of memory may take some of it back while it is written.
    assert found.working_set < 16 < found.peak < 40 + 16


def test_socket_buffers_are_in_the_peak(arena: Arena) -> None:
    """In the memory limit on version 2; on version 1 in a counter beside it, which takes root to set up."""
    found = measured(arena, SOCKETS, "socket buffers")
    sent = int(found.record.evidence.last_log_line) / MIB
    print(f"held in sockets: {sent:.1f} MiB")
    hierarchy = find_hierarchy()
    assert hierarchy is not None
    if hierarchy.version == 1 and os.geteuid() != 0:
        pytest.skip("NOT COUNTED HERE: on cgroup version 1 counting what sockets hold takes root")
    assert sent > 32
    assert found.peak > sent
