#!/bin/sh
# Install clickcut into a folder, as deploy/Dockerfile does: a wheel, a virtual environment with
# compiled bytecode, compiled kernels. Nothing below the folder has to be written afterwards.
#
#   deploy/install.sh SOURCE PREFIX [EXTRAS]
#
# Needs uv. PYTHON names the interpreter (default: python3), UV the command (default: uv).
# NUMBA_CPU_NAME chooses the processors that the kernels are for; set the same one at run time.
set -eu
source=$1
prefix=$2
extras=${3:-cpu}
uv=${UV:-uv}

wheels=$(mktemp -d)
trap 'rm -rf "$wheels"' EXIT
$uv build --quiet --wheel --out-dir "$wheels" "$source"
wheel=$(echo "$wheels"/clickcut-*.whl)

$uv venv --quiet --python "${PYTHON:-python3}" "$prefix"
$uv pip install --quiet --python "$prefix/bin/python" --compile-bytecode \
  "clickcut[$extras] @ file://$wheel"
"$prefix/bin/clickcut" warm-up --cache "$prefix/kernels"
