#!/bin/bash
# One GPU for ten minutes: what is run there, second by second. Nothing here needs a network.
#   benchmarks/gpu_call.sh first           585 s: tests, benchmarks, embedded experiment, photographs
#   benchmarks/gpu_call.sh second SECONDS  on the same machine: the photographs go on between the calls and in this one
# OUT: folder for what comes back (8 files); CARRY: folder that benchmarks/gpu_carry.sh made; ARCHIVE: cifar100.tar.gz. Each part has
# a limit of its own, and writes as it goes.
# SIZE=tiny is a rehearsal on a CPU, STRETCH=5 gives every part five times as long.
set -u
self=$(realpath "$0")
cd "$(dirname "$0")/.." || exit 1
scratch=${SCRATCH:-/tmp/gpu_call}
pictured=$scratch/photographs # what the trainings on photographs write, which outlive a call
mkdir -p "$scratch/stage" "$pictured" "$OUT"
python=${PYTHON:-python3}
export PYTHONPATH=$PWD:$(realpath "${CARRY:-.gpu_carry}")/stubs${PYTHONPATH:+:$PYTHONPATH}
export PYTHONUNBUFFERED=1 OMP_NUM_THREADS=4 HF_HUB_OFFLINE=1 PYTEST_DISABLE_PLUGIN_AUTOLOAD=1
export TORCHINDUCTOR_CACHE_DIR=$scratch/inductor CUDA_DEVICE_MAX_CONNECTIONS=32
device=cuda bench=() worlds=() photos=() embedded=(--epochs 8) seeds="20 21 22 23 24 25" stage_epochs=8 stage_pool=800
if [ "${SIZE:-}" = tiny ]; then
    device=cpu seeds="20 21" stage_epochs=1 stage_pool=64
    bench=(--device cpu --model config/models/small.json --pairs 640 --batch 32 --pool 64 --steps 2 --workers 1 --side 64 --files 20)
    worlds=(--rows 2000 --targets 2 --captions 1 2 --processes 1) photos=(--device cpu --batch 500 --epochs 2 --recipes half nothing) embedded=(--device cpu --epochs 2 --batch 500 --recipes roclip)
    export ROCLIP_TEST_DEVICE=cpu
fi

exec 3>&1
say() { echo "$SECONDS s: $*" | tee -a "$OUT/log.txt" >&3; }
left() { echo $(($1 * ${STRETCH:-1} - SECONDS)); } # until a second of the plan
# run a command until so many seconds after the start: part SECOND NAME COMMAND...
part() {
    local left name=$2 began=$SECONDS status=0
    left=$(left "$1")
    shift 2
    if [ "$left" -lt 3 ]; then
        say "$name: no time left"
        return 1
    fi
    timeout -k 3 "$left" "$@" || status=$?
    say "$name: status $status after $((SECONDS - began)) s"
    return $status
}
machine() {
    nvidia-smi
    nproc
    free -g
    df -h /tmp
    "$python" -V
    "$python" -m pip list 2>/dev/null |
        grep -iE '^(torch|torchvision|triton|timm|numpy|pandas|pillow|safetensors|open_clip_torch|nvidia-cudnn-cu13|nvidia-nccl-cu13) '
}
tests() { # SECOND NAME WORDS
    part "$1" "tests, $2" "$python" -m pytest -p no:cacheprovider --noconftest -q -s -rxXs --tb=short tests/test_on_gpu.py \
        -k "$3" >"$scratch/tests_$2.txt" 2>&1
    cat "$scratch/tests_$2.txt" >>"$OUT/tests.txt"
}
# the train stage itself on the embedded data: stage SECOND ATTACK DEFENCE SEED
stage() {
    local name=$2_$3_seed$4 folder own=()
    [ "$3" = roclip ] && own=(--pool_size $stage_pool)
    folder=$(echo "$scratch/embedded/attacks/$2"_*_"seed$4")
    part "$1" "train stage, $name" "$python" -m roclip_command train --kind "$3" --pairs "$folder/train.csv" --truth "$folder/truth.csv" \
        --targets "$folder/targets.csv" --validation "$scratch/embedded/probe.csv" --classes config/scenes/classes.txt \
        --templates config/scenes/templates.txt --out "$scratch/stage/$name" --seed "$4" --epochs $stage_epochs --roots "$scratch" \
        --device $device --threads 2 "${own[@]}" 2>"$scratch/stage/$name.log"
    grep -E 'epoch|error|ahead|Error' "$scratch/stage/$name.log" | sed "s/^/$name: /" >>"$OUT/log.txt"
    for file in history pace; do
        [ -f "$scratch/stage/$name/$file.csv" ] && sed "s/^/$file,$name,/" "$scratch/stage/$name/$file.csv" >>"$OUT/stage.csv"
    done
}
stages() { # the four trainings of a seed, side by side
    for attack in targeted patch; do for defence in clip roclip; do stage "$1" $attack $defence "$2" & done; done
    wait
}
bench() { # SECOND PARTS...
    local second=$1 left
    left=$(($(left "$1") - 3))
    shift
    part "$second" "benchmark, $*" "$python" -m benchmarks.gpu --parts "$@" --folder "$scratch/bench" --out "$OUT/gpu.csv" \
        --seconds $left "${bench[@]}" >>"$OUT/bench.txt" 2>&1
}
many() { # SECOND SET WORLDS MORE...
    local second=$1 kind=$2 left
    left=$(($(left "$1") - 6))
    shift 2
    part "$second" "many, $kind" "$python" -m benchmarks.many "$kind" --worlds "$scratch/$kind" --out "$OUT/$kind.csv" \
        --seconds $left "$@" >>"$OUT/log.txt" 2>&1
}
many_photos() { # as graphs in one process; where that fails, from Python in ten
    # shellcheck disable=SC2086
    many "$1" photos --seeds $seeds "${photos[@]}"
    [ $? -eq 3 ] || return 0
    say "photos: from Python"
    # shellcheck disable=SC2086
    for number in {0..9}; do many "$1" photos --seeds $seeds --no_graphs --epochs 16 --part "$number" 10 & done
    wait
}
pictures() { # SECOND: what the CPU makes ready while the GPU is tested
    (
        part "$1" "scenes" "$python" -m benchmarks.worlds embedded --out "$scratch/embedded" --seeds 11 12 13 --epochs 8 \
            --processes 7 "${worlds[@]}" >>"$OUT/log.txt" 2>&1
        stages $(($1 + 17)) 11
    ) &
    # shellcheck disable=SC2086
    part "$1" "photographs" "$python" -m benchmarks.worlds photos --archive "$ARCHIVE" --out "$scratch/photos" --seeds $seeds \
        --epochs 64 --processes 6 "${worlds[@]}" >>"$OUT/log.txt" 2>&1 &
    (
        part "$1" "files" "$python" -m benchmarks.gpu --parts files --folder "$scratch/bench" "${bench[@]}" >>"$OUT/bench.txt" 2>&1
        # so that the compiled benchmark finds its kernels; its times are those of a GPU that is shared
        part "$1" "compiling" "$python" -m benchmarks.gpu --parts compiled --folder "$scratch/bench" --out "$scratch/compiling.csv" \
            --seconds 60 "${bench[@]}" --steps 2 2>&1 | sed 's/^/compiling: /' >>"$OUT/bench.txt"
    ) &
    wait
}

photos_go_on() { # SECONDS: in a session of their own
    OUT=$pictured setsid bash "$self" photos "$1" </dev/null >/dev/null 2>&1 &
    echo $! >"$pictured/pid"
}
collect() { # SECOND: wait until then, or for the end of the photographs, and take what there is
    while [ "$(left "$1")" -gt 0 ] && kill -0 "$(cat "$pictured/pid")" 2>/dev/null; do sleep 1; done
    cp "$pictured/photos.csv" "$OUT/"
    sed 's/^/photographs: /' "$pictured/log.txt" >>"$OUT/log.txt"
}

case $1 in
first)
    say "begins"
    machine >"$OUT/machine.txt" 2>&1
    # the first import reads from a cold disk: what comes after it is that much later
    "$python" -c "import torch, torchvision, timm, cv2, sklearn, open_clip_train.main; torch.zeros(1, device='$device')" 2>>"$OUT/log.txt"
    late=$((SECONDS > 14 ? SECONDS - 14 : 0))
    say "imports are done, $late s late"
    tests $((88 + late)) numbers "step or waits or graphs or memory_that" &
    tests $((88 + late)) repeat "deterministic" &
    tests $((88 + late)) ranks "ranks or nccl or too_little" &
    pictures $((90 + late))
    wait
    say "tests and pictures are done"
    bench $((210 + late)) limits eager fed profile
    bench $((247 + late)) open_clip
    bench $((302 + late)) compiled
    bench $((325 + late)) limits deterministic
    many $((360 + late)) embedded --seeds 11 12 13 "${embedded[@]}"
    photos_go_on $(($(left 735) / ${STRETCH:-1}))
    collect 578
    ;;
second)
    kill -0 "$(cat "$pictured/pid")" 2>/dev/null || photos_go_on $(($2 - 8))
    collect "$2"
    ;;
photos)
    many_photos "$2"
    exit
    ;;
esac
say "ends"
"$python" -m benchmarks.gpu_report "$OUT"
