#!/bin/bash
# One GPU for ten minutes: what is run there, second by second. Nothing here needs a network.
#   OUT=FOLDER benchmarks/gpu_call.sh      585 s: tests, benchmarks, embedded experiment
# Variables: benchmarks/gpu_parts.sh. What was not measured yet comes early: tests of ranks and of too little memory, the train
# stage itself, open_clip's loop, deterministic kernels, compiled towers that are fed. Until second 200 the machine does many
# things at once, and nothing is timed; then one thing at a time.
cd "$(dirname "$0")/.." || exit 1
. benchmarks/gpu_parts.sh
mkdir -p "$scratch/stage"
export TORCHINDUCTOR_CACHE_DIR=$scratch/inductor
bench=(--workers "$cores") seeds="11 12 13" stage_epochs=8 stage_pool=800 threads=2
if [ "${SIZE:-}" = tiny ]; then
    seeds="11 12" stage_epochs=2 stage_pool=64 threads=1
    bench=(--device cpu --model config/models/small.json --pairs 640 --batch 32 --pool 64 --steps 2 --workers 1 --side 64 --files 20)
fi

tests() { # SECOND NAME WORDS
    part "$1" "tests, $2" "$python" -m pytest -p no:cacheprovider --noconftest -s -rxXs --tb=short tests/test_on_gpu.py \
        -k "$3" >"$scratch/tests_$2.txt" 2>&1
    cat "$scratch/tests_$2.txt" >>"$OUT/tests.txt"
}
lines() { echo $(($(wc -l <"$1") - 1)); } # of a table
# the train stage itself on the embedded data: stage SECOND ATTACK DEFENCE SEED
stage() {
    local name=$2_$3_seed$4 folder out about own=()
    [ "$3" = roclip ] && own=(--pool_size $stage_pool)
    folder=$(echo "$scratch/embedded/attacks/$2"_*_"seed$4")
    out=$scratch/stage/$name
    part "$1" "train stage, $name" "$python" -m roclip_command train --kind "$3" --pairs "$folder/train.csv" \
        --truth "$folder/truth.csv" --targets "$folder/targets.csv" --validation "$scratch/embedded/test.csv" \
        --validation_images 2500 --classes config/scenes/classes.txt --templates config/scenes/templates.txt --out "$out" \
        --seed "$4" --epochs $stage_epochs --roots "$scratch" --device $device --threads $threads "${own[@]}" 2>"$out.log"
    grep -E 'epoch|error|ahead|Error' "$out.log" | sed "s/^/$name: /" >>"$OUT/log.txt"
    [ -f "$out/history.csv" ] || return
    about=$2,$3,$4,$stage_epochs,$(lines "$folder/targets.csv"),$(lines "$scratch/embedded/test.csv")
    paste -d, <(cut -d, -f1-3,5,7 "$out/history.csv") <(cut -d, -f3 "$out/pace.csv") | sed "1d; s/^/$about,/" >>"$OUT/stage.csv"
}
stages() { # SECOND SEED: its four trainings, side by side
    echo "attack,defence,seed,epochs,targets,tests,epoch,kind,loss,attack_success,zero_shot,pairs_per_second" >"$OUT/stage.csv"
    for attack in targeted patch; do for defence in clip roclip; do stage "$1" $attack $defence "$2" & done done
    wait
}
bench() { # SECOND PARTS...
    local second=$1 left
    left=$(($(left "$1") - 3))
    shift
    part "$second" "benchmark, $*" "$python" -m benchmarks.gpu --parts "$@" --folder "$scratch/bench" --out "$OUT/gpu.csv" \
        --seconds $left "${bench[@]}" >>"$OUT/bench.txt" 2>&1
}
embedded() {
    # shellcheck disable=SC2086
    worlds $((90 + late)) embedded --seeds $seeds --epochs 8 --processes "$cores"
    stages $((200 + late)) 11
}
compiling() { # so that the compiled benchmark finds its kernels; its times are those of a GPU that is shared
    part $((90 + late)) "files" "$python" -m benchmarks.gpu --parts files --folder "$scratch/bench" "${bench[@]}" \
        >>"$OUT/bench.txt" 2>&1
    part $((200 + late)) "compiling" "$python" -m benchmarks.gpu --parts compiled --folder "$scratch/bench" \
        --out "$scratch/compiling.csv" "${bench[@]}" --steps 2 2>&1 | sed 's/^/compiling: /' >>"$OUT/bench.txt"
}

begin
tests $((190 + late)) ranks "ranks or nccl or too_little" &
tests $((190 + late)) numbers "(step or waits or graphs or memory_that) and not ranks" &
tests $((190 + late)) repeat "deterministic" &
embedded &
compiling &
wait
say "tests and trainings of the stage are done"
bench $((250 + late)) limits open_clip
bench $((285 + late)) limits deterministic
bench $((395 + late)) limits compiled
bench $((480 + late)) limits eager micro_batches fed profile
# shellcheck disable=SC2086
many $((555 + late)) embedded --epochs 8 --seeds $seeds
part 590 "result" "$python" -m benchmarks.gpu_result "$OUT" --out "$OUT/gpu_result.csv"
say "ends"
"$python" -m benchmarks.gpu_report "$OUT"
