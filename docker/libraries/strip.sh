#!/bin/sh
# Make an installed virtual environment small and quick to start.
# usage: strip.sh VENV
# What goes is what only building against a library or testing it needs, and OpenVINO's devices other than the CPU.
# Bytecode is compiled with an unchecked hash: the root is read-only when a case runs, and copying a layer may change
# the times that Python would compare.
set -eu
venv=$1
packages=$(echo "$venv"/lib/python3.*/site-packages)

rm -rf "$packages"/torch/include "$packages"/torch/share/cmake "$packages"/torch/test \
    "$packages"/openvino/include "$packages"/openvino/cmake
# OpenVINO reports each of its imports to its maker; without this package it does not.
rm -rf "$packages"/openvino_telemetry "$packages"/openvino_telemetry-*.dist-info
if [ -d "$packages"/torch/bin ]; then
    # Sharing tensors between processes starts this one; the others test and build.
    find "$packages"/torch/bin -mindepth 1 ! -name torch_shm_manager -delete
fi
find "$packages"/openvino/libs \( -name '*_intel_gpu_plugin*' -o -name '*_intel_npu_*' \) -delete 2>/dev/null || true
# numpy.testing, which others import at run time, needs a module of numpy's tests.
find "$packages" -type d -name tests -prune ! -path '*/numpy/*' -exec rm -rf {} +
find "$packages" -type f \( -name '*.a' -o -name '*.h' -o -name '*.hpp' -o -name '*.pxd' -o -name '*.pyi' \) -delete
# torch ships modules in the syntax of later Pythons, which it imports only there.
"$venv/bin/python" -m compileall -q -j 0 --invalidation-mode unchecked-hash -x '/py31[2-9]_' "$packages"
