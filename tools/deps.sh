#!/usr/bin/env bash
# Installs what seamount needs to be built, on Debian and Ubuntu, through the system's package manager; only what is missing.
#
#   tools/deps.sh            compilers, libraries, a software Vulkan driver
#   tools/deps.sh --tests    also what only the tests use: a second driver, clang and its sanitizers
set -euo pipefail

build=(gcc g++ cmake ninja-build pkg-config python3
    libvulkan-dev libvulkan1 mesa-vulkan-drivers vulkan-validationlayers
    glslang-dev spirv-tools libshaderc-dev
    libpcre2-dev libutf8proc-dev libjansson-dev libxxhash-dev libcmocka-dev)
tests=(clang)
# Taken where the system offers them: chromium brings the SwiftShader driver, the others the fuzzer's run time.
tests_optional=(chromium libclang-rt-14-dev libclang-rt-dev)

is_installed() {
    [[ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null || true)" == installed ]]
}

# Does the system offer the package (and is it a real one, not a pointer to a snap as chromium is on Ubuntu)?
is_offered() {
    local version
    version=$(apt-cache policy "$1" 2>/dev/null | sed -n 's/^  Candidate: //p')
    [[ -n "$version" && "$version" != "(none)" && "$version" != *snap* ]]
}

as_root() {
    if [[ $(id -u) -eq 0 ]]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        echo "deps.sh: root or sudo is needed to run: $*" >&2
        exit 1
    fi
}

case "${1:-}" in
"") wanted=("${build[@]}") ;;
--tests) wanted=("${build[@]}" "${tests[@]}") ;;
*)
    echo "usage: tools/deps.sh [--tests]" >&2
    exit 2
    ;;
esac

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    echo "deps.sh: not a Debian or Ubuntu system. Please install, under the names of this system:" >&2
    echo "  ${wanted[*]}" >&2
    exit 1
fi

missing=()
for package in "${wanted[@]}"; do
    is_installed "$package" || missing+=("$package")
done
optional=()
if [[ "${1:-}" == --tests ]]; then
    for package in "${tests_optional[@]}"; do
        is_installed "$package" || optional+=("$package")
    done
fi
if [[ ${#missing[@]} -eq 0 && ${#optional[@]} -eq 0 ]]; then
    exit 0
fi

if [[ ${#missing[@]} -gt 0 ]]; then
    echo "deps.sh: installing ${missing[*]}"
    as_root apt-get update -q
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
fi
for package in "${optional[@]}"; do
    if is_offered "$package"; then
        echo "deps.sh: installing $package"
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$package" ||
            echo "deps.sh: going on without $package" >&2
    fi
done
