#!/usr/bin/env bash
# Compiles the kernels that the compilers of some systems cannot (cooperative matrices: GL_KHR_cooperative_matrix, glslang 13 and later) and
# puts them into shaders/prebuilt. Run it when a test says that a module is missing, that is when a source of theirs has changed.
#
#   tools/prebuild.sh BUILD [GLSLC]   BUILD: a build folder, with tests; GLSLC: a glslc that knows the extension; default: the one that
#                                     tools/deps.sh --newer-glslc unpacks into build-glslc. The program zstd is needed too
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=${1:?prebuild.sh: a build folder is needed}
glslc=${2:-$root/build-glslc/glslc}

[[ $# -ge 2 ]] || "$root/tools/deps.sh" --newer-glslc "$root/build-glslc"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cmake --build "$build" --target dump_sources
"$build/tests/dump_sources" "$work" >"$work/list"
# Not optimised: drivers do that, and optimisers have broken such matrices before.
for source in "$work"/*.comp; do
    "$glslc" --target-env=vulkan1.2 --target-spv=spv1.5 -O0 -o "${source%.comp}.spv" "$source"
    zstd -q -19 "${source%.comp}.spv"
done
rm -f "$root"/shaders/prebuilt/*.spv.zst
mkdir -p "$root/shaders/prebuilt"
mv "$work"/*.spv.zst "$root/shaders/prebuilt/"
cmake "$build" >/dev/null # the list of files has changed
echo "prebuild.sh: $(sort -u "$work/list" -k1,1 | wc -l) modules by $("$glslc" --version | head -1)"
