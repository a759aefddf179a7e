#!/usr/bin/env bash
# Builds the image of container/Containerfile with buildah, podman or docker, the first that is there.
#
# usage: container/image.sh [OPTION...]
#
# Every OPTION goes to the builder, for instance --build-arg APT=live, --no-cache or --tag NAME.
#
# What the image says of itself comes from git: the commit, whether the program's sources differ from it, and the commit's
# time in place of every other time, so that a commit makes one image. Without git the commit is unknown and the time is 0.
# IMAGE_TOOL names another builder.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() {
    printf 'image: error: %s\n' "$*" >&2
    exit 2
}

# The builder: what IMAGE_TOOL names, else the first that is there.
builder() {
    local tool tools=(buildah podman docker)
    if [ -n "${IMAGE_TOOL:-}" ]; then tools=("$IMAGE_TOOL"); fi
    for tool in "${tools[@]}"; do
        if command -v "$tool" >/dev/null 2>&1; then
            printf '%s\n' "$tool"
            return
        fi
    done
    fail "none of ${tools[*]} is here: install one of them"
}

# What goes into the binary, as build.rs counts it: the program's own word on whether it is what its commit holds.
mapfile -t sources < <(sed -n '/^const SOURCES/,/^];/s/^ *"\(.*\)",$/\1/p' build.rs)
[ ${#sources[@]} -gt 0 ] || fail "build.rs has no list of sources"

# A build started from a git hook has that hook's repository in its environment.
unset GIT_DIR GIT_WORK_TREE
commit='' dirty='' time=0
if git ls-files --error-unmatch Cargo.toml >/dev/null 2>&1; then
    commit=$(git rev-parse HEAD)
    time=$(git log -1 --format=%ct)
    dirty=false
    if [ -n "$(git status --porcelain -- "${sources[@]}")" ]; then dirty=true; fi
fi
version=$(sed -n 's/^version *= *"\(.*\)"/\1/p' Cargo.toml)

tool=$(builder)
options=(
    --file container/Containerfile --tag "mixprec:$version"
    --build-arg "COMMIT=$commit" --build-arg "DIRTY=$dirty" --build-arg "VERSION=$version"
)
case "${tool##*/}" in
    # docker takes the time from its environment and writes it into the files' times only when it exports.
    docker) export SOURCE_DATE_EPOCH=$time ;;
    # Its own version is not part of what is built.
    buildah) options+=(--timestamp "$time" --identity-label=false) ;;
    *) options+=(--timestamp "$time") ;;
esac
printf 'image: %s builds mixprec:%s of commit %s\n' "$tool" "$version" "${commit:-unknown}"
exec "$tool" build "${options[@]}" "$@" .
