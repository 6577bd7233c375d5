"""Each isolation and limit, read back from inside a container that the harness started."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest
from containers import MIB, Arena

from harness.results.records import OptOuts, Outcome
from harness.run.evaluate import evaluate

pytestmark = pytest.mark.engine

PERFECT = """
in=$(ls "$FLARE_INPUTS")
cp /workspace/good.nii.gz "$FLARE_OUTPUTS/${in%_0000.nii.gz}.nii.gz"
"""
LOOK = """exec 2>/dev/null
echo "[status]"; cat /proc/self/status
echo "[limits]"; cat /proc/self/limits
echo "[mounts]"; cat /proc/self/mounts
echo "[cgroup]"; cat /proc/self/cgroup
echo "[interfaces]"; ls /sys/class/net
echo "[init]"; cat /proc/1/comm
echo "[environment]"; cat /proc/self/environ; echo
echo "[memory]"; cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max
echo "[swap]"; cat /sys/fs/cgroup/memory/memory.memsw.limit_in_bytes /sys/fs/cgroup/memory.swap.max
echo "[pids]"; cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max
echo "[quota]"; cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu.max
echo "[inputs]"; ls -A "$FLARE_INPUTS"
echo "[end]"
"""


def sections(log: str) -> dict[str, str]:
    """Split what LOOK printed."""
    parts = re.split(r"^\[(\w+)\]\n", log, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.fixture(scope="module")
def seen(engine, tmp_path_factory):  # type: ignore[no-untyped-def]
    """What one container saw of itself."""
    from containers import make_dataset, reference_labels, write_volume

    from harness.challenge import load_challenge

    folder = tmp_path_factory.mktemp("isolation")
    good = write_volume(folder / "good.nii.gz", reference_labels()).read_bytes()
    arena = Arena(engine, folder, make_dataset(folder / "data"), load_challenge("phantom"), good)
    results = arena.run(LOOK + PERFECT, cpus=1.5)
    assert results.executions[0].outcome is Outcome.SUCCEEDED
    return sections(arena.log(results))


def status(seen: dict[str, str], field: str) -> str:
    found = re.search(rf"^{field}:\t(.*)$", seen["status"], flags=re.MULTILINE)
    assert found
    return found[1].strip()


def test_there_is_no_network_but_loopback(seen: dict[str, str]) -> None:
    assert seen["interfaces"].split() == ["lo"]


def test_nobody_is_root(seen: dict[str, str]) -> None:
    assert 0 not in map(int, status(seen, "Uid").split())
    assert 0 not in map(int, status(seen, "Gid").split())


@pytest.mark.parametrize("kind", ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"])
def test_there_are_no_capabilities(seen: dict[str, str], kind: str) -> None:
    assert int(status(seen, kind), 16) == 0


def test_privileges_cannot_be_gained(seen: dict[str, str]) -> None:
    assert status(seen, "NoNewPrivs") == "1"


def test_system_calls_are_filtered(seen: dict[str, str]) -> None:
    assert status(seen, "Seccomp") == "2"


def mounted(seen: dict[str, str], where: str) -> tuple[str, set[str]]:
    rows = [line.split() for line in seen["mounts"].splitlines()]
    row = [row for row in rows if row[1] == where][-1]
    return row[2], set(row[3].split(","))


def test_the_root_is_read_only(seen: dict[str, str]) -> None:
    assert "ro" in mounted(seen, "/")[1]


def test_inputs_are_read_only_and_outputs_writable(seen: dict[str, str]) -> None:
    assert "ro" in mounted(seen, "/workspace/inputs")[1]
    assert "rw" in mounted(seen, "/workspace/outputs")[1]


def test_tmp_is_a_small_tmpfs(seen: dict[str, str]) -> None:
    kind, options = mounted(seen, "/tmp")
    assert kind == "tmpfs"
    assert {"rw", "nosuid", "nodev", "size=32768k"} <= options
    assert "noexec" not in options


def test_shared_memory_has_its_size(seen: dict[str, str]) -> None:
    assert "size=16384k" in mounted(seen, "/dev/shm")[1]


def test_memory_is_limited_and_swap_adds_nothing(seen: dict[str, str]) -> None:
    assert seen["memory"].split() == [str(128 * MIB)]
    assert seen["swap"].split() in ([str(128 * MIB)], ["0"])


def test_processes_are_limited(seen: dict[str, str]) -> None:
    assert seen["pids"].split() == ["4096"]


def test_cpus_are_a_quota(seen: dict[str, str]) -> None:
    assert seen["quota"].split()[0] == "150000"


def test_files_and_core_dumps_are_limited(seen: dict[str, str]) -> None:
    limits = {line[:26].strip(): line[26:].split()[:2] for line in seen["limits"].splitlines()}
    assert limits["Max core file size"] == ["0", "0"]
    assert limits["Max open files"] == ["16384", "16384"]
    assert limits["Max file size"] == [str(48 * MIB)] * 2


def test_an_init_reaps_its_children(seen: dict[str, str]) -> None:
    assert "init" in seen["init"] or "tini" in seen["init"] or "catatonit" in seen["init"]


def test_home_and_caches_are_in_tmp(seen: dict[str, str]) -> None:
    variables = dict(entry.split("=", 1) for entry in seen["environment"].split("\0") if "=" in entry)
    assert variables["HOME"] == variables["TMPDIR"] == "/tmp"
    assert variables["XDG_CACHE_HOME"].startswith("/tmp/")


def test_the_case_has_no_name(seen: dict[str, str]) -> None:
    assert re.fullmatch(r"case_\d{10}_0000\.nii\.gz\n", seen["inputs"])
    assert "patient" not in "".join(seen.values())


def test_a_root_image_that_writes_to_its_workspace_runs_with_both_opt_outs(arena: Arena) -> None:
    script = "set -e\necho x > /workspace/scratch\ntouch /root-was-here\ncat /proc/self/status" + PERFECT
    plain = arena.run(script)
    assert plain.executions[0].outcome is Outcome.CRASHED
    opted = arena.run(script, opt_outs=OptOuts(requires_root=True, writable_root=True))
    assert opted.executions[0].outcome is Outcome.SUCCEEDED
    assert opted.record.opt_outs == OptOuts(requires_root=True, writable_root=True)
    assert opted.folder != plain.folder
    log = arena.log(opted)
    assert re.search(r"^Uid:\t0\t0\t0\t0$", log, flags=re.MULTILINE)
    assert re.search(r"^CapEff:\t0+$", log, flags=re.MULTILINE), "even root has no capabilities"


def test_what_goes_into_a_writable_root_counts_as_output(arena: Arena) -> None:
    script = "for name in a b; do dd if=/dev/zero of=/workspace/$name bs=1M count=30; done; sleep 30"
    opt_outs = OptOuts(requires_root=True, writable_root=True)
    (execution,) = arena.run(script, opt_outs=opt_outs).executions
    assert execution.outcome is Outcome.OUTPUT_LIMIT


def test_header_texts_and_extensions_do_not_reach_the_container(arena: Arena) -> None:
    import nibabel

    from harness.data.dataset import open_dataset

    path = arena.dataset.cases[0].image
    assert path is not None
    image = nibabel.load(path)
    image.header["descrip"] = b"Mueller^Hans 1950"
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"Hospital of Nowhere"))
    nibabel.save(image, path)
    arena.dataset = open_dataset(arena.dataset.folder)
    script = 'cp "$FLARE_INPUTS"/* /tmp/a.gz && cat /tmp/a.gz' + PERFECT
    results = arena.run(script, log_bytes=MIB)
    assert results.executions[0].outcome is Outcome.SUCCEEDED
    import gzip

    raw = (results.folder / "cases" / "patient_0" / "container.log").read_bytes()
    plain = gzip.decompress(raw)
    assert b"Mueller" not in plain
    assert b"Hospital" not in plain
    assert len(plain) == 352 + 24 * 20 * 16 * 2


def test_scoring_beside_the_next_case_keeps_off_its_cores(arena: Arena) -> None:
    from dataclasses import replace

    from containers import make_dataset

    from harness.run.evaluate import evaluate
    from harness.scoring.verify import verify_run

    dataset = make_dataset(arena.folder / "more", cases=3)
    script = "cat /proc/self/status" + PERFECT
    request = replace(arena.request(script, dataset=dataset, cpus=1.0), overlap_scoring=True)
    results = evaluate(request, engine=arena.engine)
    assert results.record.cpuset == "0"
    assert sorted(score.case for score in results.scores) == [case.id for case in dataset.cases]
    assert "Cpus_allowed_list:\t0\n" in arena.log(results)
    assert verify_run(results.folder, dataset=dataset).problems == []


def test_without_a_readable_cgroup_the_engines_samples_are_a_lower_bound(
    arena: Arena, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.run.opening.find_hierarchy", lambda: None)
    (execution,) = arena.run("sleep 0.5" + PERFECT).executions
    assert execution.outcome is Outcome.SUCCEEDED
    assert execution.usage.peak_memory_method == "sampled-lower-bound"
    assert execution.usage.peak_memory_bytes is not None
    assert 100_000 < execution.usage.peak_memory_bytes < 16 * MIB


def test_a_declared_volume_is_no_way_to_the_hosts_disk(arena: Arena) -> None:
    script = (
        'grep " /data " /proc/mounts\ndd if=/dev/zero of=/data/x bs=1M count=1000 2>/dev/null; ls -l /data/x'
    )
    plain = arena.image(script)
    dockerfile = io.BytesIO(f"FROM {plain}\nVOLUME /data\n".encode())
    image, _ = arena.engine.client.images.build(fileobj=dockerfile, rm=True)
    try:
        results = evaluate(replace(arena.request(script), image=image.id), engine=arena.engine)
        assert arena.log(results).startswith("tmpfs /data tmpfs")
        assert results.executions[-1].outcome is not Outcome.SUCCEEDED
    finally:
        arena.engine.client.images.remove(image.id, force=True)
