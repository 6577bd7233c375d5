#!/bin/sh
# Resolve the three constraints files anew, for Python 3.11. Nothing is installed.
# usage: lock.sh PYTHON     (a Python 3.11 that has pip)
# torch is held at TORCH_VERSION, because it decides how large the images are and how fast methods run in them.
set -eu
python=$1
torch=torch==${TORCH_VERSION:-2.13.0}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# usage: resolve FILE "FIRST LINE" PIP-ARGUMENTS...
resolve() {
    file=$1 title=$2
    shift 2
    "$python" -m pip install --quiet --dry-run --ignore-installed --report "$work/report.json" "$@"
    {
        echo "# $title \`make lock\` renews it."
        # Versions without a local part: `+cpu` builds come from where TORCH_INDEX_URL points. Our own packages, and
        # backports that the standard library replaces, stay out.
        "$python" -c '
import json, sys
found = {}
for item in json.load(open(sys.argv[1]))["install"]:
    found[item["metadata"]["name"].lower().replace("_", "-")] = item["metadata"]["version"].partition("+")[0]
for name in sorted(found.keys() - {"flareharness", "segkit", "argparse"}):
    print(f"{name}=={found[name]}")' "$work/report.json"
    } >"$work/constraints"
    mv "$work/constraints" "$file"
    echo "$file: $(grep -c == "$file") packages"
}

resolve constraints.txt "Every package of the harness's environment (.venv) with what tests need." ".[dev]"
resolve constraints-train.txt "Every package of the training environment (.venv-train)." \
    "$torch" ".[train]" "./submissions/segkit[quantise]" pytest pytest-timeout hypothesis
resolve constraints-runtime.txt "Every wheel of the runtime and evaluator images." "$torch" \
    -r docker/libraries/requirements-cpu.txt -r docker/evaluator/requirements.txt -r docker/wheelhouse-tools.txt
