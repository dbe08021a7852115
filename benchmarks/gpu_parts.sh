# shellcheck shell=bash
# What benchmarks/gpu_call.sh and benchmarks/gpu_photos.sh have in common; they source it, in the project's folder.
# OUT: folder for what comes back; CARRY: folder that benchmarks/gpu_carry.sh made (default .gpu_carry). Each part has a limit of
# its own, and writes as it goes, so that one that runs over takes no other with it.
# For a rehearsal: SIZE=tiny on a CPU; STRETCH=5 gives every part five times as long; HANG: a part that is replaced by one
# that never ends and ignores being told to, with a limit of 20 s.
set -u
scratch=${SCRATCH:-/tmp/gpu_call}
carry=$(realpath "${CARRY:-.gpu_carry}")
python=${PYTHON:-python3}
mkdir -p "$scratch" "$OUT"
export PYTHONPATH=$PWD
"$python" -m benchmarks.carried "$carry" || exit 1
"$python" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target "$scratch/site" "$carry"/whl/*.whl ||
    exit 1
export PYTHONPATH=$PWD:$carry/stubs:$scratch/site
export PYTHONUNBUFFERED=1 OMP_NUM_THREADS=4 HF_HUB_OFFLINE=1 PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 CUDA_DEVICE_MAX_CONNECTIONS=32
cores=$(nproc)
device=cuda many=() worlds=() graphs=3
if [ "${SIZE:-}" = tiny ]; then
    device=cpu
    many=(--device cpu --batch 64 --epochs 2) worlds=(--rows 1200 --targets 2 --captions 1 2 --epochs 2)
    export ROCLIP_TEST_DEVICE=cpu OMP_NUM_THREADS=1
    export TORCHDYNAMO_DISABLE=1 # what is to be compiled is not: a C++ compiler would take minutes
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
    if [ "$name" = "${HANG:-}" ]; then
        left=20
        set -- bash -c 'trap "" TERM; sleep 10000'
    fi
    timeout -k 3 "$left" "$@" || status=$?
    say "$name: status $status after $((SECONDS - began)) of $left s"
    return $status
}
machine() {
    nvidia-smi
    nproc
    free -g
    df -h /tmp
    "$python" -V
    "$python" -m pip list 2>/dev/null
}
begin() { # what is imported from a cold disk for the first time takes long: what comes after it is `late` by so much
    say "begins"
    machine >"$OUT/machine.txt" 2>&1
    "$python" -c "import torch, torchvision, timm, cv2, sklearn, open_clip_train.main; torch.zeros(1, device='$device')" \
        2>>"$OUT/log.txt"
    late=$((SECONDS > 14 ? SECONDS - 14 : 0))
    say "imports are done, $late s late"
}
worlds() { # SECOND SET MORE...: pictures, labels and tokens of a set's attacks
    local second=$1 kind=$2
    shift 2
    part "$second" "worlds, $kind" "$python" -m benchmarks.worlds "$kind" --out "$scratch/$kind" "$@" "${worlds[@]}" \
        >>"$OUT/log.txt" 2>&1
}
many() { # SECOND SET MORE...: its trainings, side by side
    local second=$1 kind=$2 left
    left=$(($(left "$1") - 6))
    shift 2
    part "$second" "many, $kind" "$python" -m benchmarks.many "$kind" --worlds "$scratch/$kind" --out "$OUT/$kind.csv" \
        --seconds $left "$@" "${many[@]}" >>"$OUT/log.txt" 2>&1
}
