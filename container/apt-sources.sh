#!/bin/sh
# Pins apt to the moment that this image records of itself: Debian's official images note, as a comment above each
# `URIs:` line of their sources, the snapshot of the archive that they were made from.
#
# usage: container/apt-sources.sh recorded|live [FILE]
#
#   recorded  install from that snapshot: the same packages at any later time; nothing changes when run again
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

# An archive that is named elsewhere would be used as it is today.
folder=$(dirname "$file")
for other in "$folder"/*.sources "$folder"/*.list "${folder%.d}"; do
    if [ -f "$other" ] && [ "${other##*/}" != "${file##*/}" ] && grep -q '^[[:space:]]*[^#[:space:]]' "$other"; then
        fail "$other names archives, too, and they are not pinned; remove it, or build with --build-arg APT=live"
    fi
done

pinned=$(mktemp)
trap 'rm -f "$pinned"' EXIT
# A snapshot's index says when it expired, which is what a snapshot is for. Any stanza without a snapshot is an error:
# half pinned is not pinned. Names of fields are of any case, and a value goes on in lines that begin with a space.
awk '
    function is_snapshot(address) { return address ~ "^https?:.*/[0-9]+T[0-9]+Z/?$" }
    function pin(    count, words, i) {
        in_uris = 0
        if (snapshot == "") {
            # Pinned already.
            count = split(uris, words)
            for (i = 1; i <= count; i++) {
                if (!is_snapshot(words[i])) { missing = 1; exit 1 }
                snapshot = snapshot (i > 1 ? " " : "") words[i]
            }
            if (count == 0) { missing = 1; exit 1 }
        }
        print "URIs: " snapshot
        print "Check-Valid-Until: no"
        snapshot = ""
    }
    in_uris && /^#/ { next }
    in_uris && /^[ \t]+[^ \t]/ { uris = uris " " $0; next }
    in_uris { pin() }
    /^[ \t]*$/ { snapshot = "" }
    /^#/ {
        address = $0
        gsub(/^# *|[ \t\r]+$/, "", address)
        if (is_snapshot(address)) { snapshot = address; next }
    }
    tolower($0) ~ /^uris:/ { uris = substr($0, 6); in_uris = 1; next }
    tolower($0) ~ /^check-valid-until:/ { next }
    { print }
    END {
        if (in_uris && !missing) pin()
        if (missing) exit 1
    }
' "$file" >"$pinned" ||
    fail "$file records no snapshot for one of its archives; build with --build-arg APT=live"
grep -q '^URIs:' "$pinned" || fail "$file names no archive; build with --build-arg APT=live"
cat "$pinned" >"$file"
sed -n 's/^URIs: /apt-sources: /p' "$file"
