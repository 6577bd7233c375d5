"""Both cgroup versions are read from files as the kernel writes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.measure.cgroup import (
    CaseCgroup,
    Hierarchy,
    MemorySample,
    find_hierarchy,
    parent_name,
    remove_stale,
)

MOUNTS_V1 = """\
24 31 0:22 / /proc rw,nosuid shared:12 - proc proc rw
35 32 0:30 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
36 32 0:31 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
37 32 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
38 32 0:33 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
"""
MOUNTS_V2 = """\
24 31 0:22 / /proc rw,nosuid shared:12 - proc proc rw
30 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate
"""
# As read on a Debian 12 host, kernel 6.1, a few lines left out.
STAT_V2 = (
    "anon 268435456\nfile 52428800\nkernel 4194304\nshmem 8388608\n"
    "inactive_file 41943040\nactive_file 2097152\n"
)
EVENTS_V2 = "low 0\nhigh 0\nmax 214\noom 3\noom_kill 2\noom_group_kill 0\n"
CPU_V2 = (
    "usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\n"
    "nr_periods 40\nnr_throttled 12\nthrottled_usec 340000\n"
)
STAT_V1 = (
    "cache 52428800\nrss 268435456\ninactive_file 1\ntotal_cache 52428800\n"
    "total_shmem 8388608\ntotal_inactive_file 41943040\n"
)


def test_version_1_is_where_the_memory_controller_is() -> None:
    found = find_hierarchy(MOUNTS_V1)
    assert found is not None
    assert found.version == 1
    assert found.memory == Path("/sys/fs/cgroup/memory")
    assert found.cpuacct == found.cpu == Path("/sys/fs/cgroup/cpu,cpuacct")
    assert Path("/sys/fs/cgroup/pids") in found.others


def test_version_2_is_one_hierarchy() -> None:
    root = Path("/sys/fs/cgroup")
    assert find_hierarchy(MOUNTS_V2) == Hierarchy(2, root, root, root)


def test_a_host_without_cgroups_has_none() -> None:
    assert find_hierarchy("24 31 0:22 / /proc rw - proc proc rw\n") is None


@pytest.mark.parametrize(
    ("driver", "name", "folder"),
    [
        ("cgroupfs", "/flareharness/ab12", "flareharness/ab12"),
        ("systemd", "flareharness-ab12.slice", "flareharness.slice/flareharness-ab12.slice"),
    ],
)
def test_the_parent_is_named_as_the_driver_wants(tmp_path: Path, driver: str, name: str, folder: str) -> None:
    assert parent_name("ab12", driver) == name
    (tmp_path / folder).mkdir(parents=True)
    assert CaseCgroup(Hierarchy(2, tmp_path, tmp_path, tmp_path), name).exists


@pytest.fixture
def version_2(tmp_path: Path) -> CaseCgroup:
    parent = tmp_path / "flareharness.slice" / "flareharness-ab12.slice"
    own = parent / "docker-feed.scope"
    own.mkdir(parents=True)
    (parent / "memory.current").write_text("325058560\n")
    (parent / "memory.peak").write_text("536870912\n")
    (parent / "memory.stat").write_text(STAT_V2)
    (parent / "memory.events").write_text(EVENTS_V2)
    (parent / "cpu.stat").write_text("usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\n")
    (own / "cpu.stat").write_text(CPU_V2)
    return CaseCgroup(Hierarchy(2, tmp_path, tmp_path, tmp_path), "flareharness-ab12.slice", "feed")


def test_version_2_is_read(version_2: CaseCgroup) -> None:
    # First, because a kernel sets the peak back for one descriptor only, and a plain file for all.
    assert version_2.peak() == (536870912, "cgroup-v2-peak")
    assert version_2.memory() == MemorySample(325058560, 325058560 - (52428800 - 8388608))
    assert version_2.oom_kills() == 2
    assert version_2.cpu_s() == pytest.approx(2.5)
    assert version_2.throttled_s() == pytest.approx(0.34)


def test_a_kernel_without_memory_peak_gives_none(version_2: CaseCgroup) -> None:
    folder = version_2.hierarchy.memory / "flareharness.slice" / "flareharness-ab12.slice"
    (folder / "memory.peak").unlink()  # kernels before 5.19
    assert version_2.peak() is None


@pytest.fixture
def version_1(tmp_path: Path) -> CaseCgroup:
    memory, cpu = tmp_path / "memory", tmp_path / "cpu"
    parent = memory / "flareharness" / "ab12"
    (parent / "feed").mkdir(parents=True)
    (cpu / "flareharness" / "ab12" / "feed").mkdir(parents=True)
    (parent / "memory.usage_in_bytes").write_text("325058560\n")
    (parent / "memory.max_usage_in_bytes").write_text("536870912\n")
    (parent / "memory.stat").write_text(STAT_V1)
    (parent / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 0\n")
    (parent / "feed" / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n")
    (cpu / "flareharness" / "ab12" / "cpuacct.usage").write_text("2500000000\n")
    (cpu / "flareharness" / "ab12" / "feed" / "cpu.stat").write_text(
        "nr_periods 40\nnr_throttled 12\nthrottled_time 340000000\n"
    )
    return CaseCgroup(Hierarchy(1, memory, cpu, cpu), "/flareharness/ab12", "feed")


def test_version_1_is_read(version_1: CaseCgroup) -> None:
    assert version_1.memory() == MemorySample(325058560, 325058560 - (52428800 - 8388608))
    assert version_1.peak() == (536870912, "cgroup-v1-max-usage")
    assert version_1.oom_kills() == 1
    assert version_1.cpu_s() == pytest.approx(2.5)
    assert version_1.throttled_s() == pytest.approx(0.34)


def test_what_went_with_the_container_is_unknown_not_zero(version_1: CaseCgroup) -> None:
    gone = CaseCgroup(version_1.hierarchy, "/flareharness/ab12", "another")
    assert gone.oom_kills() is None
    assert gone.throttled_s() is None
    assert gone.peak() is not None


def test_a_missing_cgroup_is_unknown(tmp_path: Path) -> None:
    nowhere = CaseCgroup(Hierarchy(2, tmp_path, tmp_path, tmp_path), "/flareharness/gone", "feed")
    assert not nowhere.exists
    assert nowhere.memory() is None
    assert nowhere.peak() is None
    assert nowhere.cpu_s() is None
    nowhere.remove()


@pytest.mark.parametrize("own", ["feed", "docker-feed.scope", "libpod-feed", "libpod-feed.scope"])
def test_processes_are_found_by_every_engines_names_and_one_deeper(tmp_path: Path, own: str) -> None:
    folder = tmp_path / "flareharness" / "ab12" / own
    (folder / "container").mkdir(parents=True)
    (folder / "cgroup.procs").write_text("")
    (folder / "container" / "cgroup.procs").write_text("17\n19\n")
    hierarchy = Hierarchy(2, tmp_path, tmp_path, tmp_path)
    assert CaseCgroup(hierarchy, "/flareharness/ab12", "feed").pids() == [17, 19]
    assert CaseCgroup(hierarchy, "/flareharness/ab12", "beef").pids() == []


def test_a_users_engine_has_its_cgroups_below_that_users_manager(tmp_path: Path) -> None:
    parent = parent_name("ab12", "systemd")
    folder = tmp_path / "user.slice/user-1000.slice/user@1000.service/flareharness.slice" / parent
    folder.mkdir(parents=True)
    (folder / "memory.peak").write_text("4096\n")
    hierarchy = Hierarchy(2, tmp_path, tmp_path, tmp_path)
    assert not CaseCgroup(hierarchy, parent, "feed").exists
    cgroup = CaseCgroup(hierarchy, parent, "feed", user=1000)
    assert cgroup.exists
    assert cgroup.peak() == (4096, "cgroup-v2-peak")
    (folder / "memory.peak").unlink()  # the kernel's files go with the folder
    remove_stale(hierarchy, "ab")
    assert not folder.exists()
