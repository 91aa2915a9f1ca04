#!/usr/bin/env bash
# Writes tests/data/radv_stats.csv anew: what AMD's compiler says of the kernels of a V2-Lite model, on five families of GPUs that need not
# be here. Run it when kernels changed on purpose, and look at the difference before committing it.
#
#   tools/bench/record_radv.sh BUILD [MANIFEST]   BUILD: a build folder, with tests; MANIFEST: of the driver; default: the one that
#                                                 tools/deps.sh --newer-mesa build-mesa unpacks, which is unpacked if need be
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=${1:?record_radv.sh: a build folder is needed}
manifest=${2:-$root/build-mesa/radeon_icd.json}

[[ $# -ge 2 ]] || "$root/tools/deps.sh" --newer-mesa "$root/build-mesa"
if [[ ! -r "$manifest" ]]; then
    echo "record_radv.sh: there is no driver: $manifest" >&2
    exit 1
fi
cmake --build "$build" --target test_radv_stats
SMT_RADV_MANIFEST=$manifest SMT_RADV_RECORD=$root/tests/data/radv_stats.csv "$build/tests/test_radv_stats"
git -C "$root" diff --stat -- tests/data/radv_stats.csv
