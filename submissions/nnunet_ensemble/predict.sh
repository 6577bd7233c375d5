#!/bin/sh
# The contract's entry: reads /workspace/inputs, writes /workspace/outputs.
set -e
exec python3 "$(dirname "$0")/predict.py" "$@"
