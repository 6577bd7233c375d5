"""What running costs and how exact its numbers are, each against its target.

    python -m pytest tests/benchmarks/test_running_cost.py -s

Needs a container engine. Timings are of this machine; run it when nothing else runs.
"""

from __future__ import annotations

import secrets
import statistics
import subprocess
import time
from dataclasses import replace

import pytest
from containers import MIB, Arena, arena, engine, make_dataset

from harness.run.evaluate import evaluate
from harness.run.request import EvaluationRequest

__all__ = ["arena", "engine"]

pytestmark = [pytest.mark.engine, pytest.mark.slow]

RUNS = 100
ALLOCATED = 512 * MIB
LARGEST_ERROR = 0.01
LARGEST_OVERHEAD_S = 1.0
LARGEST_MARGINAL_S = 0.1

# The last line is what the kernel says that the largest process really had: its own high-water mark.
SPIKE = f"""
sleep 0.05
dd if=/dev/zero of=/dev/null bs={ALLOCATED} count=1 2>/dev/null &
while read -r name value unit; do [ "$name" = VmHWM: ] && own=$value; done < /proc/$$/status
wait
echo "$own"
"""
PERFECT = """
in=$(ls "$FLARE_INPUTS")
cp /workspace/good.nii.gz "$FLARE_OUTPUTS/${in%_0000.nii.gz}.nii.gz"
"""


def test_peak_memory_of_a_short_spike_is_within_one_percent(arena: Arena) -> None:
    """`dd` fills one buffer and ends: the peak lasts milliseconds. 10 Hz polling misses such peaks."""
    dataset = make_dataset(arena.folder / "many", cases=RUNS)
    results = arena.run(SPIKE, dataset=dataset, memory_bytes=1024 * MIB, time_s=60.0)
    errors, polled = [], []
    for execution in results.executions:
        shell_bytes = int(execution.evidence.last_log_line) * 1024
        assert execution.usage.peak_memory_bytes is not None
        used = ALLOCATED + shell_bytes
        errors.append(execution.usage.peak_memory_bytes / used - 1)
        polled.append((execution.usage.peak_working_set_bytes or 0) / used - 1)
    errors.sort(key=abs)
    print(
        f"\npeak memory of a spike, {len(errors)} runs: median error {statistics.median(errors):+.2%}, "
        f"worst {errors[-1]:+.2%}; polled at 10 Hz: median {statistics.median(polled):+.1%}, "
        f"worst {min(polled):+.1%}"
    )
    assert len(errors) == RUNS
    assert abs(errors[-1]) <= LARGEST_ERROR


def test_what_the_harness_adds_to_a_case(arena: Arena) -> None:
    """Evaluations of one case and of many against `docker run --rm` of the same image, in turns."""
    many, rounds = 11, 6
    requests = [
        arena.request(PERFECT, dataset=make_dataset(arena.folder / f"of {cases}", cases=cases))
        for cases in (1, many)
    ]
    inputs, outputs = arena.folder / "in", arena.folder / "out"
    for folder in (inputs, outputs):
        folder.mkdir()
        folder.chmod(0o777)
    (inputs / "x_0000.nii.gz").write_bytes(b"")
    command = ["docker", "run", "--rm", "--network", "none", "--init"]
    command += ["-v", f"{inputs}:/in", "-v", f"{outputs}:/out"]
    command += ["-e", "FLARE_INPUTS=/in", "-e", "FLARE_OUTPUTS=/out"]
    command += [requests[0].image, "/bin/bash", "-c", "sh predict.sh"]

    def docker_s() -> float:
        begin = time.perf_counter()
        for _ in range(many - 1):
            subprocess.run(command, check=True)
        return (time.perf_counter() - begin) / (many - 1)

    def evaluation_s(request: EvaluationRequest) -> float:
        begin = time.perf_counter()
        evaluate(replace(request, results=arena.folder / secrets.token_hex(4)), engine=arena.engine)
        return time.perf_counter() - begin

    docker_s(), evaluation_s(requests[0])
    bare, whole, marginal = [], [], []
    for _ in range(rounds):
        bare.append(docker_s())
        one_s, many_s = map(evaluation_s, requests)
        whole.append(many_s / many - bare[-1])
        marginal.append((many_s - one_s) / (many - 1) - bare[-1])
    print(
        f"\nper case, scoring included: docker run {statistics.median(bare):.3f} s; an evaluation "
        f"of {many} adds {statistics.median(whole):+.3f} s (worst {max(whole):+.3f} s), one case more "
        f"{statistics.median(marginal):+.3f} s (worst {max(marginal):+.3f} s)"
    )
    assert statistics.median(whole) <= LARGEST_OVERHEAD_S
    assert statistics.median(marginal) <= LARGEST_MARGINAL_S
