#!/bin/bash
# Rehearse what is to run on a GPU machine: `make rehearse`. On a CPU, with the small model and made-up photographs, with just what
# that machine has (Python 3.12, benchmarks/gpu_machine.txt and the carried wheels, in .rehearsal/), and with one part that hangs.
# SHORT=1: only the photographs, with the Python of the tests; a minute in place of five.
set -euo pipefail
cd "$(dirname "$0")/.."
kept=.rehearsal
mkdir -p $kept
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

found_3_12() { # on the PATH, or of pyenv
    for candidate in python3.12 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.12*/bin/python3.12; do
        "$candidate" -c 'import ssl, venv' 2>/dev/null && echo "$candidate" && return
    done
}
python=$([ -n "${SHORT:-}" ] || found_3_12 || true)
if [ -n "$python" ]; then
    if ! [ $kept/installed -nt benchmarks/gpu_machine.txt ]; then
        "$python" -m venv --clear $kept/venv
        $kept/venv/bin/python -m pip install --quiet --no-compile --disable-pip-version-check -r benchmarks/gpu_machine.txt
        touch $kept/installed
    fi
    python=$kept/venv/bin/python
else
    python=.venv/bin/python
    echo "rehearse: under $($python -V)"
fi

PYTHON=.venv/bin/python benchmarks/gpu_carry.sh $kept
archives=()
for set in flickr8k cifar100; do
    archives+=("$folder/$set.tar.gz")
    .venv/bin/python -m tests.fixtures.photographs $set "$folder/$set.tar.gz"
done
export CARRY=$kept PYTHON=$PWD/$python SIZE=tiny
if [ -z "${SHORT:-}" ]; then
    export OUT=$folder/call SCRATCH=$folder/scratch
    HANG=files benchmarks/gpu_call.sh
    .venv/bin/python -m benchmarks.gpu_check "$OUT" --hung files
fi
export OUT=$folder/photos SCRATCH=$folder/scratch_photos
benchmarks/gpu_photos.sh "${archives[@]}"
.venv/bin/python -m benchmarks.gpu_check "$OUT" --sets flickr8k cifar100
