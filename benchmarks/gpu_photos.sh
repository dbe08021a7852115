#!/bin/bash
# Many small trainings on photographs, on one GPU for ten minutes: CLIP, CLIP with augmentation, half of its epochs, RoCLIP, and
# on CIFAR-100 RoCLIP's controls, against poisoning at three strengths. Nothing here needs a network.
#   OUT=FOLDER benchmarks/gpu_photos.sh flickr8k.tar.gz cifar100.tar.gz     580 s, shared by the sets
# SEEDS: (default 20 21 22). Other variables: benchmarks/gpu_parts.sh; form of the archives: benchmarks/worlds.py.
archives=()
for archive in "$@"; do archives+=("$(realpath "$archive")"); done
cd "$(dirname "$0")/.." || exit 1
. benchmarks/gpu_parts.sh
read -ra seeds <<<"${SEEDS:-20 21 22}"
first=90 # second at which the trainings of the first set begin
[ "${SIZE:-}" = tiny ] && seeds=(20)

set_of() { basename "$1" .tar.gz; }
# as graphs in one process; where that fails, from Python in ten: trainings SECOND SET
trainings() {
    local seconds=$((($(left "$1") - 10) / ${#seeds[@]} - 8)) # of a seed
    many "$1" "$2" --seeds "${seeds[@]}" --group_seconds $seconds
    [ $? -eq 3 ] || return 0
    say "$2: from Python"
    for number in {0..9}; do many "$1" "$2" --seeds "${seeds[@]}" --no_graphs --epochs 16 --part "$number" 10 & done
    wait
}

begin
declare -A ready
for archive in "${archives[@]}"; do
    worlds $((first + 60 + late)) "$(set_of "$archive")" --archive "$archive" --seeds "${seeds[@]}" --epochs 64 \
        --processes $(((cores + $# - 1) / $#)) &
    ready[$archive]=$!
done
for number in "${!archives[@]}"; do
    wait "${ready[${archives[number]}]}"
    trainings $((first + (575 - first) * (number + 1) / $#)) "$(set_of "${archives[number]}")"
done
say "ends"
"$python" -m benchmarks.gpu_report "$OUT"
