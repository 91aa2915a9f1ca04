#!/usr/bin/env bash
# Runs the tests. Installs what is missing first.
#
#   tools/test.sh [quick]   gcc build, warnings are errors; the quick tests on every Vulkan driver found
#   tools/test.sh full      all tests; then the same sources through clang with the address and undefined behaviour sanitizers, the unit
#                           tests in that build, and a short fuzz run; sessions of several threads and the server under the one for data races;
#                           and whether MinGW compiles it all for Windows
#
# Tests that use more than the tree holds take it from the folder that SEAMOUNT_SHARED names, and report "skipped" without.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
mode=${1:-quick}
fuzz_seconds=30
if [[ $# -gt 1 || ( "$mode" != quick && "$mode" != full ) ]]; then
    echo "usage: tools/test.sh [quick|full]" >&2
    exit 2
fi

"$root/tools/deps.sh" --tests
[[ "$mode" == quick ]] || "$root/tools/deps.sh" --newer-mesa "$root/build-mesa"

# configure_and_build FOLDER COMPILER COMPILER++ [cmake options]
configure_and_build() {
    local folder=$1 cc=$2 cxx=$3
    shift 3
    echo "== $folder: $cc $*"
    CC=$cc CXX=$cxx cmake -S "$root" -B "$root/$folder" -G Ninja -DCMAKE_C_FLAGS=-Werror "$@" >/dev/null &&
        cmake --build "$root/$folder" --parallel "$(nproc)"
}

# run_tests FOLDER [ctest options]: the output also goes to FOLDER/ctest.log, for the summary. One more at a time than there are processors:
# some wait, for windows and clients.
run_tests() {
    local folder=$1
    shift
    ctest --test-dir "$root/$folder" -j$(($(nproc) + 1)) --output-on-failure "$@" 2>&1 | tee "$root/$folder/ctest.log"
}

# What a folder's run came to: the lines from the verdict on.
summary() {
    echo "== $1"
    sed -n '/tests passed/,$p' "$root/$1/ctest.log"
}

# Does clang link fuzz targets? Its sanitizers and libFuzzer are a package of their own.
clang_fuzzes() {
    local probe status=0
    probe=$(mktemp)
    echo 'int LLVMFuzzerTestOneInput(const char *d, unsigned long n) { return d && n > 9; }' |
        clang -x c -fsanitize=fuzzer,address -o "$probe" - 2>/dev/null || status=1
    rm -f "$probe"
    return "$status"
}

fuzz() {
    local program programs=()
    mapfile -t programs < <(find "$root/$1/tests" -maxdepth 1 -type f -executable -name 'fuzz_*')
    for program in "${programs[@]}"; do
        echo "== fuzzing: $(basename "$program")"
        (cd "$root/$1" && "$program" -max_total_time=$((fuzz_seconds / ${#programs[@]}))) || return 1
    done
}

# The programs that have several threads, on the driver that is everywhere. The driver itself is not instrumented: its own accesses are not
# looked at.
races() {
    CC=gcc CXX=g++ cmake -S "$root" -B "$root/build-tsan" -G Ninja -DCMAKE_C_FLAGS=-Werror -DCMAKE_BUILD_TYPE=RelWithDebInfo \
        -DSEAMOUNT_SANITIZE_THREADS=ON >/dev/null &&
        cmake --build "$root/build-tsan" --parallel "$(nproc)" --target seamount test_session test_vk_threads test_observer &&
        TSAN_OPTIONS=ignore_noninstrumented_modules=1 run_tests build-tsan -R '^(test_(session|vk_threads|observer)|storm_races)\.lavapipe$'
}

# The sources for Windows, warnings being errors: compiled and no more, for its libraries are not on this system. Of those there are headers,
# which are alike.
windows() {
    local cc=x86_64-w64-mingw32-gcc-posix headers=$root/build-windows/include name found
    if ! command -v "$cc" >/dev/null; then
        echo "== windows: skipped, there is no $cc"
        return 0
    fi
    echo "== windows: $cc"
    mkdir -p "$headers"
    for name in vulkan vk_video glslang shaderc pcre2.h utf8proc.h xxhash.h zstd.h jansson.h jansson_config.h microhttpd.h; do
        found=$(find /usr/include "/usr/include/$(uname -m)-linux-gnu" -maxdepth 1 -name "$name" | head -1)
        ln -sfn "$found" "$headers/$name"
    done
    (cd "$root" && printf '%s\0' src/*/*.c tools/{cli,serve,shared}/*.c tools/example/complete.c | xargs -0 -n 16 -P "$(nproc)" \
        "$cc" -std=c11 -O2 -fsyntax-only -Werror -Wall -Wextra -Wshadow -Wconversion -Wno-sign-conversion -Wno-float-conversion \
        -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DVK_NO_PROTOTYPES -DSMT_GLSL_GLSLANG '-DSMT_GLSL_VERSION=""' '-DSEAMOUNT_DATA_DIR=""' \
        '-DSEAMOUNT_ASSETS_DIR=""' -Iinclude -Isrc -Ishaders/shared -Itools/serve -Itools/shared -isystem "$headers")
}

configure_and_build build-test gcc g++ -DCMAKE_BUILD_TYPE=Release
status=0
if [[ "$mode" == quick ]]; then
    run_tests build-test -L quick || status=1
    summary build-test
    exit "$status"
fi

run_tests build-test -LE covered || status=1
# One build by clang for three ends: its warnings, the sanitizers, and the fuzz targets; two where it lacks their run time.
sanitized=build-clang
sanitize=(-DCMAKE_BUILD_TYPE=RelWithDebInfo -DSEAMOUNT_SANITIZE=ON)
if clang_fuzzes; then
    configure_and_build build-clang clang clang++ "${sanitize[@]}" -DSEAMOUNT_FUZZ=ON
    fuzz build-clang || status=1
else
    echo "== fuzzing: skipped, this clang has no libFuzzer"
    sanitized=build-asan
    configure_and_build build-clang clang clang++ -DCMAKE_BUILD_TYPE=Release
    configure_and_build build-asan gcc g++ "${sanitize[@]}"
fi
run_tests "$sanitized" -L unit || status=1
races || status=1
windows || status=1
summary "$sanitized"
summary build-tsan
summary build-test
exit "$status"
