#!/usr/bin/env bash
# From nothing to generated text: installs what is missing, builds into build/, lets the model that comes with seamount continue some code.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
"$root/tools/deps.sh"

cmake -S "$root" -B "$root/build" -G Ninja -DCMAKE_BUILD_TYPE=Release
cmake --build "$root/build" --parallel "$(nproc)" --target seamount

prompt='class Stack:
    """A simple stack."""

    def __init__(self'
command=("$root/build/seamount" run -p "$prompt" -n 96 -s 3 -v --expert-use)
echo
echo "A mixture of 32 experts with 10 million parameters, trained on Python for three hours on a processor: it knows how"
echo "code looks, not what it means. For sense, give a GGUF file of yours: -m FILE."
echo
printf '%q ' "${command[@]}"
printf '\n\n'
"${command[@]}"
echo
