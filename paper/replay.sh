#!/usr/bin/env bash
# Renders the paper's numbers from a published artifact, without a GPU, and compares them with those that are committed.
#
# usage: paper/replay.sh [--accept] ARTIFACT
#   --accept   put what was rendered in the place of the committed files
# Variables: MIXPREC (target/release/mixprec), GENERATED (paper/generated)
# Exit codes: 0 the same to the byte, 1 different, 2 bad input.
set -euo pipefail
export LC_ALL=C
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
mixprec=${MIXPREC:-$root/target/release/mixprec}
generated=${GENERATED:-$root/paper/generated}

fail() {
    printf 'replay: %s\n' "$2" >&2
    exit "$1"
}

accept=
if [ "${1-}" = --accept ]; then
    accept=yes
    shift
fi
[ $# -eq 1 ] || fail 2 'name one artifact: paper/replay.sh artifacts/NAME'
artifact=$1
[ -f "$artifact/SHA256SUMS" ] || fail 2 "$artifact: no SHA256SUMS, so this is no artifact; mixprec artifact makes one"

(cd "$artifact" && sha256sum --check --strict --quiet SHA256SUMS) ||
    fail 1 "$artifact: files are not those that were published"
# Where `mixprec report ARTIFACT` writes unless told otherwise is no part of what was published.
strangers=$(comm -13 <(cut -c67- "$artifact/SHA256SUMS" | sort) \
    <(cd "$artifact" && find . -path ./report -prune -o -type f ! -path ./SHA256SUMS -printf '%P\n' | sort))
[ -z "$strangers" ] || fail 1 "$artifact: files that were not published: $(echo "$strangers" | tr '\n' ' ')"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# Other engines timed beside it are in a folder of their own, where there are any.
peers=${artifact%/}-peers
[ -d "$peers" ] || peers=
"$mixprec" report "$artifact" ${peers:+--peers "$peers"} --latex --out "$scratch/generated"
if [ -n "$accept" ]; then
    rm -rf "$generated"
    mkdir -p "$(dirname "$generated")"
    cp -r "$scratch/generated" "$generated"
    echo "replay: $generated is now what $artifact says; commit it with the artifact"
elif diff -rq "$generated" "$scratch/generated" >"$scratch/differences"; then
    echo "replay: $(find "$generated" -type f | wc -l) files, each the committed one to the byte"
else
    head -20 "$scratch/differences" >&2
    fail 1 "what $artifact says is not what is committed in $generated; where the change is meant: paper/replay.sh --accept"
fi
