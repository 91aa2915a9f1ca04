#!/usr/bin/env bash
# Installs what seamount needs to be built, on Debian and Ubuntu, through the system's package manager; only what is missing.
#
#   tools/deps.sh            compilers, libraries, a software Vulkan driver
#   tools/deps.sh --tests    also what only the tests use: a second driver, clang and its sanitizers, a virtual
#                            screen for the viewer
#   tools/deps.sh --newer-mesa FOLDER    on Debian 12: unpacks Mesa from its backports into FOLDER, beside the system's own, so that two
#                            ages of the software driver can be tested; installs nothing and leaves the package sources alone
#   tools/deps.sh --newer-glslc FOLDER   on Debian 12: unpacks the GLSL compiler of Debian 13 into FOLDER, with the libraries it runs on, in the
#                            same way; elsewhere FOLDER/glslc is the system's own. For tools/prebuild.sh
set -euo pipefail

build=(gcc g++ cmake ninja-build pkg-config python3
    libvulkan-dev libvulkan1 mesa-vulkan-drivers vulkan-validationlayers
    glslang-dev spirv-tools libshaderc-dev
    libpcre2-dev libutf8proc-dev libjansson-dev libmicrohttpd-dev libedit-dev libxxhash-dev libzstd-dev libcmocka-dev
    libsdl2-dev libsdl2-ttf-dev libpng-dev fonts-dejavu-core)
tests=(clang xvfb xdotool)
# Taken where the system offers them: chromium brings the SwiftShader driver, MinGW a look at Windows, the others
# the fuzzer's run time.
tests_optional=(chromium libclang-rt-14-dev libclang-rt-dev gcc-mingw-w64-x86-64-posix)
# Clients of the server are npm packages; a node of another origin will do.
command -v node >/dev/null || tests_optional+=(nodejs)
command -v npm >/dev/null || tests_optional+=(npm)

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

sources=/etc/apt/sources.list.d/debian.sources

# unpack FOLDER SUITE PACKAGE...: downloads packages of another suite and unpacks them into FOLDER/root. The entry for the suite is derived
# from the system's own source file and used for these calls alone.
unpack() {
    local folder=$1 suite=$2 options
    shift 2
    mkdir -p "$folder/lists/partial"
    options=(-o "Dir::Etc::sourcelist=$folder/$suite.sources" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$folder/lists"
        -o APT::Sandbox::User=root -o "Dir::Cache=$folder")
    sed -n '1,/^$/p' "$sources" | sed "s/^Suites:.*/Suites: $suite/" >"$folder/$suite.sources"
    apt-get "${options[@]}" update -q >/dev/null && (cd "$folder" && apt-get "${options[@]}" download -q "$@" >/dev/null) || return 1
    for package in "$@"; do
        dpkg-deb -x "$folder/${package}"_*.deb "$folder/root" || return 1
    done
}

# newer_mesa FOLDER
newer_mesa() {
    local folder=$1
    [[ -e "$folder/lvp_icd.json" ]] && return 0
    if ! grep -q '^VERSION_CODENAME=bookworm' /etc/os-release || [[ ! -e "$sources" ]]; then
        echo "deps.sh: no Mesa backports for this system: going on with its own driver"
        return 0
    fi
    mkdir -p "$folder"
    folder=$(cd "$folder" && pwd)
    unpack "$folder" bookworm-backports mesa-vulkan-drivers || {
        echo "deps.sh: Mesa from backports cannot be had: going on with the system's driver" >&2
        return 0
    }
    local library
    library=$(find "$folder/root" -name libvulkan_lvp.so)
    if ldd "$library" | grep -q 'not found'; then
        echo "deps.sh: Mesa from backports lacks libraries on this system: going on without it" >&2
        return 0
    fi
    printf '{"ICD": {"api_version": "1.3.0", "library_path": "%s"}, "file_format_version": "1.0.0"}\n' "$library" >"$folder/lvp_icd.json"
    sed 's/libvulkan_lvp/libvulkan_radeon/' "$folder/lvp_icd.json" >"$folder/radeon_icd.json"
    echo "deps.sh: $(basename "$folder"/mesa-vulkan-drivers_*.deb) is in $folder"
}

# newer_glslc FOLDER: the compiler runs through the dynamic loader of its own system.
newer_glslc() {
    local folder=$1
    [[ -x "$folder/glslc" ]] && return 0
    mkdir -p "$folder"
    folder=$(cd "$folder" && pwd)
    if ! grep -q '^VERSION_CODENAME=bookworm' /etc/os-release || [[ ! -e "$sources" ]]; then
        ln -s "$(command -v glslc)" "$folder/glslc"
        return 0
    fi
    unpack "$folder" trixie glslc libshaderc1 libc6 libgcc-s1 libstdc++6 || {
        echo "deps.sh: a newer glslc cannot be had from this system's package servers" >&2
        exit 1
    }
    cat >"$folder/glslc" <<END
#!/bin/sh
exec "$folder/root/usr/lib64/ld-linux-x86-64.so.2" --library-path "$folder/root/usr/lib/x86_64-linux-gnu" "$folder/root/usr/bin/glslc" "\$@"
END
    chmod +x "$folder/glslc"
    echo "deps.sh: $("$folder/glslc" --version | head -1) is in $folder"
}

case "${1:-}" in
--newer-glslc)
    newer_glslc "${2:?deps.sh: --newer-glslc needs a folder}"
    exit 0
    ;;
--newer-mesa)
    newer_mesa "${2:?deps.sh: --newer-mesa needs a folder}"
    exit 0
    ;;
"") wanted=("${build[@]}") ;;
--tests) wanted=("${build[@]}" "${tests[@]}") ;;
*)
    echo "usage: tools/deps.sh [--tests | --newer-mesa FOLDER | --newer-glslc FOLDER]" >&2
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
