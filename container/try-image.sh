#!/usr/bin/env bash
# Builds the image for real where no image registry can be reached, runs it, builds it again without any layer of the
# first, and compares the two. Needs root, buildah, mmdebstrap and a Rust toolchain; Debian's archive and the package
# indexes must be reachable. Everything is kept under target/image.
#
# usage: container/try-image.sh [--seed FOLDER]
#
#   --seed FOLDER   begin with the compiled dependencies in this target folder of the same toolchain (target/, say):
#                   only mixprec itself is compiled then
#
# What differs from the image that `make image` makes: the two base images are made here, of Debian bookworm and this
# machine's Rust toolchain, in the place of the ones pinned by digest, and packages are of today (APT=live). Crates
# come from this machine's cargo cache. The recipe is the same file.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() {
    printf 'try-image: error: %s\n' "$*" >&2
    exit 2
}
say() { printf 'try-image: %s\n' "$*"; }

seed=
while [ $# -gt 0 ]; do
    case "$1" in
        --seed) seed=${2:?--seed needs a folder} && shift 2 ;;
        -h | --help) sed -n '2,/^set -e/{/^#/s/^# \{0,1\}//p}' container/try-image.sh && exit 0 ;;
        *) fail "unknown argument: $1; see container/try-image.sh --help" ;;
    esac
done
[ "$(id -u)" -eq 0 ] || fail "needs root, to make a base image and to run containers without a privileged helper"
for program in buildah mmdebstrap cargo git; do
    command -v "$program" >/dev/null ||
        fail "$program is missing: apt-get install buildah mmdebstrap git, and Rust with rustup"
done

readonly STATE=$PWD/target/image RUN_SECONDS=${RUN_SECONDS:-60}
# The compiled dependencies say where the crates' sources lay, so these lie in the same place inside.
readonly CARGO=${CARGO_HOME:-$HOME/.cargo}
mkdir -p "$STATE/target"

# A store of its own: nobody else's images are seen or changed.
cat >"$STATE/storage.conf" <<END
[storage]
driver = "overlay"
graphroot = "$STATE/store"
runroot = "$STATE/run"
END
export CONTAINERS_STORAGE_CONF=$STATE/storage.conf BUILDAH_ISOLATION=chroot

# A toolchain that has been updated is another image.
RUST=localhost/rust-here:$(rustc --version | tr -cs '[:alnum:].\n' - | sed 's/-$//')
readonly RUST

has_image() { buildah inspect --type image "$1" >/dev/null 2>&1; }

# Makes the two base images: Debian, and Debian with this machine's Rust.
make_bases() {
    if has_image localhost/debian-here; then
        say "Debian's base image is there"
    else
        say "making Debian's base image"
        mkdir -p "$STATE/base"
        SOURCE_DATE_EPOCH=0 mmdebstrap --quiet --variant=minbase --include=ca-certificates bookworm "$STATE/base/rootfs.tar"
        buildah build --quiet --timestamp 0 --tag localhost/debian-here --file - "$STATE/base" >/dev/null <<'END'
FROM scratch
ADD rootfs.tar /
CMD ["bash"]
END
        rm -r "$STATE/base"
    fi
    if has_image "$RUST"; then
        say "$RUST is there"
        return
    fi
    say "adding $(rustc --version)"
    mkdir -p "$STATE/rust"
    tar --create --file "$STATE/rust/toolchain.tar" --directory "$(rustc --print sysroot)" --exclude=share \
        --exclude=lib/rustlib/src bin lib libexec
    buildah build --quiet --timestamp 0 --tag "$RUST" --file - "$STATE/rust" >/dev/null <<END
FROM localhost/debian-here
ADD toolchain.tar /usr/local/
ENV CARGO_HOME=$CARGO
END
    rm -r "$STATE/rust"
    # Those of older toolchains only take room.
    buildah images --format '{{.Name}}:{{.Tag}}' | sed -n '/^localhost\/rust-here:/p' | grep -Fxv "$RUST" |
        xargs -r buildah rmi >/dev/null || true
}

# Takes over what another build has compiled, without what it made of this program.
take_seed() {
    [ -n "$seed" ] && [ ! -e "$STATE/target/release" ] || return 0
    say "taking compiled dependencies from $seed"
    mkdir -p "$STATE/target/release"
    cp -a "$seed/release/"{build,deps,.fingerprint} "$STATE/target/release/"
}

# Deletes what was compiled of this program: its sources bear the commit's time, by which cargo sees no change.
forget_program() {
    rm -rf "$STATE"/target/release/{,deps/,build/,.fingerprint/}{,lib}mixprec{,.*,-*}
}

# Builds the image; $1 is where its id goes, further arguments go to the builder.
build() {
    local id_file=$1
    shift
    forget_program
    # They are mounted while it is built and not part of it, but for their empty folders.
    local volumes=(
        # Not read-only: cargo unpacks here what this machine has fetched and never compiled.
        --volume "$CARGO/registry:$CARGO/registry"
        --volume "$STATE/config.toml:$CARGO/config.toml:ro"
        --volume "$STATE/target:/opt/mixprec/target"
        # Where a proxy answers for the package index, this machine's certificates know it.
        --volume "/etc/ssl/certs/ca-certificates.crt:/etc/ssl/certs/ca-certificates.crt:ro"
    )
    # All that the lock names has been fetched, and no other is wanted.
    printf '[net]\noffline = true\n' >"$STATE/config.toml"
    IMAGE_TOOL=buildah container/image.sh --iidfile "$id_file" "${volumes[@]}" --build-arg "RUST=$RUST" \
        --build-arg BASE=localhost/debian-here --build-arg APT=live "$@"
}

container=
# The working container goes, whatever has failed in it.
remove_container() {
    [ -z "$container" ] || buildah rm "$container" >/dev/null
    container=
}
trap remove_container EXIT

# Runs the commands a reader would, in the image $1: what is here, then quick.yaml for RUN_SECONDS, then its report.
exercise() {
    local pinned status=0 manifest=/opt/mixprec/experiments/quick.yaml
    container=$(buildah from "$1")
    [ "$(buildah run "$container" id -u)" -eq 10001 ] || fail "the image runs as root"
    # A reader's own user, so that results in a mounted folder belong to them.
    buildah run --user 4321:4321 "$container" mixprec cache ls
    buildah run "$container" mixprec doctor | tee "$STATE/doctor.txt"
    pinned=$(grep -c 'the pinned bytes' "$STATE/doctor.txt" || true)
    [ "$pinned" -eq 6 ] || fail "doctor sees $pinned of the six pinned libraries in the image"
    # A run that is interrupted keeps its rows and exits with 130; 1 means that rows failed, which is a finding.
    buildah run "$container" timeout --signal=INT --preserve-status "$RUN_SECONDS" \
        mixprec run "$manifest" --out runs/quick || status=$?
    case $status in
        0 | 1 | 130) ;;
        *) fail "mixprec run ended with exit code $status in the image" ;;
    esac
    buildah run "$container" mixprec report runs/quick
    buildah run "$container" test -s runs/quick/report/report.html
    remove_container
}

make_bases
take_seed
cargo fetch --locked --quiet
commit=$(git rev-parse HEAD 2>/dev/null || echo none)
build "$STATE/first"
exercise "$(cat "$STATE/first")"
say "building it again"
build "$STATE/second" --no-cache
if [ "$(git rev-parse HEAD 2>/dev/null || echo none)" != "$commit" ]; then
    fail "a commit was made meanwhile, which the image carries: run it again"
fi
if ! cmp -s "$STATE/first" "$STATE/second"; then
    fail "two builds made two images: $(cat "$STATE/first") and $(cat "$STATE/second")"
fi
say "both builds made $(cat "$STATE/second")"
