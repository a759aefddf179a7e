#!/bin/sh
# Pins apt to the moment that this image records of itself: Debian's official images note, as a comment above each
# `URIs:` line of their sources, the snapshot of the archive that they were made from.
#
# usage: container/apt-sources.sh recorded|live [FILE]
#
#   recorded  install from that snapshot: the same packages at any later time
#   live      leave the sources alone, for a base image that records none or where the snapshots cannot be reached
#
# FILE is /etc/apt/sources.list.d/debian.sources unless said otherwise.
set -eu
mode=${1:?usage: container/apt-sources.sh recorded|live [FILE]}
file=${2:-/etc/apt/sources.list.d/debian.sources}

fail() {
    printf 'apt-sources: error: %s\n' "$*" >&2
    exit 1
}

case "$mode" in
    live)
        printf 'apt-sources: left as they are: packages are of today\n'
        exit 0
        ;;
    recorded) ;;
    *) fail "unknown mode: $mode; known are recorded and live" ;;
esac
[ -f "$file" ] || fail "$file is not there, so no snapshot is recorded; build with --build-arg APT=live"

pinned=$(mktemp)
trap 'rm -f "$pinned"' EXIT
# A snapshot's index says when it expired, which is what a snapshot is for. Any stanza without a snapshot is an error:
# half pinned is not pinned.
awk '
    /^# *https?:/ { snapshot = $2; next }
    /^URIs:/ {
        if (snapshot == "") { missing = 1; exit }
        print "URIs: " snapshot
        print "Check-Valid-Until: no"
        snapshot = ""
        next
    }
    { print }
    END { if (missing) exit 1 }
' "$file" >"$pinned" ||
    fail "$file records no snapshot for one of its archives; build with --build-arg APT=live"
grep -q '^URIs:' "$pinned" || fail "$file names no archive; build with --build-arg APT=live"
cat "$pinned" >"$file"
sed -n 's/^URIs: /apt-sources: /p' "$file"
