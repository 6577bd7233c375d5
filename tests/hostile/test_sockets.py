"""Memory in sockets: counted, bounded or refused; and what talks to itself over loopback still runs."""

from __future__ import annotations

import importlib.metadata
import io
import os
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from containers import MIB, Arena
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from harness.engine.probe import TOOLS
from harness.measure.cgroup import find_hierarchy
from harness.results.folder import RunResults
from harness.results.records import Outcome
from harness.run.evaluate import evaluate
from harness.run.socket_probes import FAMILIES, FILL_NETLINK, FILL_TCP, FILL_UDP, HUGE_PAGES, perl
from harness.submission.build import ensure

hierarchy = find_hierarchy()
pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(shutil.which("perl") is None, reason="NO PERL ON THIS HOST to make system calls with"),
    pytest.mark.skipif(
        hierarchy is None or (hierarchy.version == 1 and os.geteuid() != 0),
        reason="NOT COUNTED HERE: on cgroup version 1 counting what sockets hold takes root",
    ),
]

GOOD = """
in=$(ls "$FLARE_INPUTS")
cp /workspace/good.nii.gz "$FLARE_OUTPUTS/${in%_0000.nii.gz}.nii.gz"
"""
TALKS_TO_ITSELF = """
socket(my $listener, 2, 1, 6) or die "socket: $!";
bind($listener, pack("S n C4 x8", 2, 0, 127, 0, 0, 1)) or die "bind: $!";
listen($listener, 5);
if (!fork) {
  socket(my $out, 2, 1, 0);
  connect($out, getsockname($listener)) or die "connect: $!";
  syswrite($out, "x" x 65536) for 1 .. 1024;
  exit;
}
accept(my $in, $listener);
my $received = 0;
while (my $count = sysread($in, my $data, 65536)) { $received += $count }
print "received $received\\n";
socket(my $udp, 2, 2, 0) or die "udp: $!";
connect($udp, pack("S n C4 x8", 2, 9, 127, 0, 0, 1)) or die "udp: $!";
print "address ", join(".", unpack("x4 C4", getsockname($udp))), "\\n";
socket(my $route, 16, 3, 0) or die "netlink: $!";
send($route, pack("L S S L L C x3", 20, 18, 769, 1, 0, 0), 0);
recv($route, my $links, 65536, 0);
print "interfaces ", ($links =~ /lo/ ? "lo" : "none"), "\\n";
"""


DISTRIBUTED = """
import os, sys
import torch
import torch.distributed as distributed
import torch.multiprocessing as multiprocessing

def work(rank, ranks):
    os.environ.update(MASTER_ADDR=("localhost", "case", "127.0.0.1")[rank], MASTER_PORT="29500")
    distributed.init_process_group("gloo", rank=rank, world_size=ranks)
    numbers = torch.full((1 << 20,), float(rank + 1))
    distributed.all_reduce(numbers)
    distributed.barrier()
    if rank == 0:
        print("sum", int(numbers[0]), int(numbers[-1]), flush=True)
    distributed.destroy_process_group()

if __name__ == "__main__":
    torch.set_num_threads(1)
    multiprocessing.spawn(work, args=(3,), nprocs=3)
"""
"""Three processes that add up what each has, over TCP on the loopback."""

DASK = """
from distributed import Client, LocalCluster

if __name__ == "__main__":
    with (
        LocalCluster(n_workers=2, dashboard_address=None, local_directory="/tmp") as cluster,
        Client(cluster) as client,
    ):
        squares = client.gather(client.map(lambda number: number**2, range(10)))
        print("sum", sum(squares), "of", len(client.scheduler_info()["workers"]), "workers", flush=True)
"""
"""A cluster as Dask makes it for whoever asks for no other."""


def run(arena: Arena, script: str, then: str = "", **limits: object) -> RunResults:
    return arena.run(f"{perl(script)}\n{then}", tools=(*TOOLS, "perl"), **limits)


def stored_bytes(log: str) -> int:
    words = log.split()
    assert words[0] in ("sent", "kept"), log
    return int(words[1])


def over_ipv6(script: str) -> str:
    """Return the script with sockets of the other family, bound to ::1."""
    ours = 'pack("S n L C16 L", 10, 0, 0, (0) x 15, 1, 0)'
    changed = script.replace('pack("S n C4 x8", 2, 0, 127, 0, 0, 1)', ours)
    for kind in ("1, 0", "2, 0"):
        changed = changed.replace(f", 2, {kind})", f", 10, {kind})")
    assert changed.count("10, ") == script.count(", 2, ")
    return changed


FILLS = {"TCP": FILL_TCP, "UDP": FILL_UDP, "TCP6": over_ipv6(FILL_TCP), "UDP6": over_ipv6(FILL_UDP)}


@pytest.mark.parametrize("script", FILLS.values(), ids=FILLS.keys())
def test_what_is_stored_in_sockets_counts_and_is_bounded(arena: Arena, script: str) -> None:
    results = run(arena, script)
    usage = results.executions[0].usage
    if results.executions[0].outcome is Outcome.MEMORY_LIMIT:
        return
    held = stored_bytes(arena.log(results))
    assert 0 < held <= 160 * MIB
    assert usage.peak_memory_bytes is not None
    assert usage.peak_memory_bytes >= held


def test_what_is_stored_in_netlink_ends_the_container(arena: Arena) -> None:
    (execution,) = run(arena, FILL_NETLINK).executions
    assert execution.outcome is Outcome.MEMORY_LIMIT, execution.evidence
    assert "netlink" in execution.evidence.summary


def test_sockets_that_reach_the_hypervisor_or_count_nowhere_are_refused(arena: Arena) -> None:
    lines = arena.log(run(arena, FAMILIES)).splitlines()
    assert len(lines) == 8
    assert [line for line in lines if not line.endswith(": refused")] == []


def test_huge_pages_are_refused(arena: Arena) -> None:
    assert arena.log(run(arena, HUGE_PAGES)).splitlines() == ["map: refused", "file: refused"]


def test_what_talks_to_itself_over_loopback_runs_as_at_home(arena: Arena) -> None:
    results = run(arena, TALKS_TO_ITSELF, GOOD)
    assert results.executions[0].outcome is Outcome.SUCCEEDED, results.executions[0].evidence
    expected = ["received 67108864", "address 127.0.0.1", "interfaces lo"]
    assert arena.log(results).splitlines() == expected


def test_torch_distributed_runs_over_the_loopback(arena: Arena) -> None:
    """A real user of TCP on loopback: a store, and connections between every two workers."""
    log = log_of_python(arena, DISTRIBUTED, {})
    assert "sum 6 6" in log


def test_dask_runs_over_the_loopback(arena: Arena) -> None:
    """Another: a scheduler and two workers that listen on ports of the kernel's choice."""
    pytest.importorskip("distributed", reason="DASK IS NOT INSTALLED: pip install '.[cluster]'")
    files = {f"libraries/{name}": path.read_bytes() for name, path in files_of("distributed").items()}
    log = log_of_python(arena, DASK, files)
    assert "sum 285 of 2 workers" in log


def log_of_python(arena: Arena, program: str, files: dict[str, bytes]) -> str:
    """Return what a program printed that ran as a case of an image with torch; the case succeeded."""
    base = ensure(arena.engine.images, "flareharness/libraries:cpu")
    files = files | {
        "program.py": program.encode(),
        "good.nii.gz": arena.good,
        "predict.sh": f"set -e\nPYTHONPATH=libraries python program.py\n{GOOD}".encode(),
        "Dockerfile": f"FROM {base.digest}\nWORKDIR /workspace\nCOPY . .\n".encode(),
    }
    image, _ = arena.engine.client.images.build(fileobj=tar_of(files), custom_context=True, rm=True)
    try:
        request = arena.request("", memory_bytes=3072 * MIB, time_s=300.0)
        results = evaluate(replace(request, image=image.id, score=False), engine=arena.engine)
    finally:
        arena.engine.client.images.remove(image.id, force=True)
    log = arena.log(results)
    assert results.executions[0].outcome is Outcome.SUCCEEDED, log
    return log


def files_of(package: str) -> dict[str, Path]:
    """Return the modules of a package of this environment and of all that it needs, by their place."""
    found: dict[str, Path] = {}
    waiting, seen = [package], set()
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in seen:
            continue
        seen.add(name)
        distribution = importlib.metadata.distribution(name)
        for each in distribution.files or ():
            if each.parts[0] != ".." and "tests" not in each.parts and each.suffix != ".pyc":
                found[str(each)] = Path(str(each.locate()))
        for line in distribution.requires or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(requirement.name)
    return found


def tar_of(files: dict[str, bytes]) -> io.BytesIO:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o644
            archive.addfile(member, io.BytesIO(content))
    buffer.seek(0)
    return buffer
