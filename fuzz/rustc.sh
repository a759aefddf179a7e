#!/usr/bin/env bash
# RUSTC_WRAPPER of fuzz/run.sh: instruments the program and the targets, nothing else, so that dependencies compiled for
# the program are used as they are. All options are stable ones.
set -eu
for argument in "$@"; do
    case "$argument" in
        mixprec | mixprec_fuzz | fuzz_targets/*.rs) fuzzed=1 ;;
    esac
done
if [ -n "${fuzzed:-}" ]; then
    set -- "$@" --cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
        -Cllvm-args=-sanitizer-coverage-trace-compares -Coverflow-checks=yes -Cdebug-assertions=yes
fi
exec "$@"
