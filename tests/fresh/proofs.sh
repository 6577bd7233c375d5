#!/bin/bash
# What a whole machine proves by running: on cgroup version 2 with the systemd driver and AppArmor, see vm.sh.
# usage: proofs.sh [quick]     quick: the doctor, and one evaluation of a small image
set -euo pipefail
cd "$(dirname "$0")/../.."
export FLAREHARNESS_TEST_SLOWNESS=15
.venv/bin/harness doctor
tests=(tests/hostile/test_outcomes.py::test_an_image_without_predict_sh_crashes_with_the_shells_message)
if [ "${1:-}" != quick ]; then
    # A dozen: each limit that the kernel or the engine holds, and each way to leave the container's folders.
    dozen='sleeps_forever or allocates_past or child_killed or fills_tmp or fills_shm or one_huge_file or million_small'
    dozen+=' or symlink_to_passwd or fifo or device or leaves_a_daemon or kills_everything or writes_to_the_root or looks_around'
    tests=(tests/integration/test_run_measuring.py tests/integration/test_run_isolation.py tests/hostile/test_outcomes.py)
    tests+=(-k "isolation or measuring or ($dozen)")
fi
# A line a test: an emulated machine takes minutes for some.
.venv/bin/python -m pytest "${tests[@]}" -s -v -p no:cacheprovider
