#!/usr/bin/env bash
# From nothing to generated text: installs what is missing, builds into build/, runs a small model.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
"$root/tools/deps.sh"

cmake -S "$root" -B "$root/build" -G Ninja -DCMAKE_BUILD_TYPE=Release
cmake --build "$root/build" --parallel "$(nproc)" --target seamount make_tiny_model

stories="${SEAMOUNT_SHARED:-}/models/stories260K.gguf"
if [[ -n "${SEAMOUNT_SHARED:-}" && -f "$stories" ]]; then
    model=$stories
    note="A model of 260 thousand parameters that has learned to tell children's stories."
else
    model=$root/build/tiny.gguf
    "$root/build/tests/make_tiny_model" "$model" Q8_0
    note="No trained model comes with seamount yet: this one has random weights, so what it writes is noise.
It has the structure of DeepSeek-V2 (latent attention, experts). For sense, give a GGUF file of yours: -m FILE."
fi

command=("$root/build/seamount" run -m "$model" -p "Once upon a time" -n 96 -s 1 -v)
echo
echo "$note"
echo
printf '%q ' "${command[@]}"
printf '\n\n'
"${command[@]}"
echo
