#!/usr/bin/env bash
# Runs the device tests that are small enough for it under compute-sanitizer, once for memory errors and once for races between
# threads of a block. Needs a GPU and a CUDA toolkit; TESTS names the binary of the unit tests where cargo is not.
#
#   tests/sanitizer.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

sanitizer=$(command -v compute-sanitizer || true)
for candidate in /usr/local/cuda/bin/compute-sanitizer /usr/local/cuda/compute-sanitizer/compute-sanitizer; do
    [ -n "$sanitizer" ] || [ ! -x "$candidate" ] || sanitizer=$candidate
done
if [ -z "$sanitizer" ]; then
    echo 'sanitizer: compute-sanitizer is not here; it is part of the CUDA toolkit' >&2
    exit 1
fi

if [ -z "${TESTS:-}" ]; then
    export LIBCLANG_PATH=${LIBCLANG_PATH:-$(container/setup.sh --libclang)}
    TESTS=$(cargo test --release --locked --lib --no-run --message-format json |
        sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
fi

for tool in memcheck racecheck; do
    for test in attention_of_heads_of_64_agrees_with_float64 every_choice_for_heads_of_32_agrees_with_float64; do
        echo "== $tool: $test"
        log=$(mktemp)
        "$sanitizer" --tool "$tool" --error-exitcode 3 "$TESTS" "$test" --nocapture 2>&1 | tee "$log"
        # Without a device the test says so and passes: that is no check.
        if grep -q '^skipped:' "$log"; then
            echo 'sanitizer: no GPU, nothing was checked' >&2
            exit 1
        fi
        rm -f "$log"
    done
done
