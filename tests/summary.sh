#!/usr/bin/env bash
# Runs the tests and says at the end what cargo does not: how many ran in all binaries together, which of them skipped
# themselves, and why. The exit code is that of the command.
#
#   tests/summary.sh cargo test --release --locked
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Every test that skips itself adds a line (tests/fixtures/skip.rs): its name, a colon, the reason.
export MIXPREC_SKIPPED=$work/skipped
: >"$MIXPREC_SKIPPED"

status=0
"$@" | tee "$work/log" || status=${PIPESTATUS[0]}

sort -u "$MIXPREC_SKIPPED" >"$work/sorted"
skipped=$(sed 's/: .*//' "$work/sorted" | sort -u | wc -l)
awk -v skipped="$skipped" '
    /^test result: / { for (i = 2; i <= NF; i++) if ($i ~ /;$/) sum[$i] += $(i - 1) }
    END {
        printf "\ntests: %d passed, %d of which skipped themselves in part or as a whole; ", sum["passed;"], skipped
        printf "%d failed; %d ignored, for they take long (cargo test -- --ignored)\n", sum["failed;"], sum["ignored;"]
    }
' "$work/log"
# The most frequent reason first, each with its tests.
sed 's/^[^ ]*: //' "$work/sorted" | sort | uniq -c | sort -rn | while read -r count reason; do
    printf '%d skipped: %s\n' "$count" "$reason"
    REASON=$reason awk '{ at = index($0, ": ") } substr($0, at + 2) == ENVIRON["REASON"] { print "    " substr($0, 1, at - 1) }' \
        "$work/sorted"
done
exit "$status"
