#!/bin/sh
# Fetch wheels for the images: Linux, Python 3.11, this machine's processor, whatever Python runs pip.
# usage: wheelhouse.sh FOLDER TOOLS CONSTRAINTS [REQUIREMENTS]
# PYTHON           the Python that has pip
# TORCH_INDEX_URL  where to look for torch besides pip's own index. On x86-64 that one serves CUDA builds of several
#                  gigabytes, which run on the CPU too: name PyTorch's own CPU index to get the small build.
# WHEELS           the set's name; for `cuda`, TORCH_CUDA_INDEX_URL takes the place of TORCH_INDEX_URL.
set -eu

[ "$#" -ge 3 ] || { echo "usage: wheelhouse.sh FOLDER TOOLS CONSTRAINTS [REQUIREMENTS]" >&2; exit 2; }
folder=$1 tools=$2 constraints=$3 requirements=${4:-}
python=${PYTHON:-python3}
index=${TORCH_INDEX_URL:-}
[ "${WHEELS:-}" != cuda ] || index=${TORCH_CUDA_INDEX_URL:-}

"$python" -m pip --version >/dev/null 2>&1 || { echo "wheelhouse.sh: $python has no pip; make env installs it" >&2; exit 3; }

# Debian bookworm has glibc 2.36: every manylinux tag up to that will do.
set --
minor=36
while [ "$minor" -ge 5 ]; do
    set -- "$@" --platform "manylinux_2_${minor}_$(uname -m)"
    minor=$((minor - 1))
done
set -- "$@" --platform "manylinux2014_$(uname -m)" --platform "manylinux2010_$(uname -m)"

"$python" "$(dirname "$0")/pip.py" download \
    --only-binary :all: --implementation cp --python-version 3.11 --abi cp311 --abi abi3 --abi none "$@" \
    ${index:+--extra-index-url "$index"} --dest "$folder" --constraint "$constraints" \
    --requirement "$tools" ${requirements:+--requirement "$requirements"}

if [ "${WHEELS:-}" = cpu ] && ls "$folder"/nvidia_* >/dev/null 2>&1; then
    echo "wheelhouse.sh: pip's index served torch's CUDA build, so the CPU image gets large." \
        "Set TORCH_INDEX_URL to PyTorch's CPU index for the small one." >&2
fi
du -sm "$folder" | { read -r megabytes _; echo "$megabytes MB of wheels"; }
