#!/usr/bin/env bash
# Runs the device tests that are small enough for it under compute-sanitizer, once for memory errors and once for races between
# threads of a block, or by the tool that is named alone. Needs a GPU and a CUDA toolkit; where cargo is not, UNIT_TESTS and
# BACKEND_TESTS name the binaries of the unit tests and of tests/backends. On an H200 memcheck takes half a minute and racecheck two
# and a half.
#
#   tests/sanitizer.sh [memcheck] [racecheck]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() {
    printf 'sanitizer: %s\n' "$*" >&2
    exit 1
}

[ $# -gt 0 ] || set -- memcheck racecheck
for tool in "$@"; do
    case "$tool" in memcheck | racecheck) ;; *) fail "$tool: memcheck and racecheck are what it runs" ;; esac
done

sanitizer=$(command -v compute-sanitizer || true)
for candidate in /usr/local/cuda/bin/compute-sanitizer /usr/local/cuda/compute-sanitizer/compute-sanitizer; do
    [ -n "$sanitizer" ] || [ ! -x "$candidate" ] || sanitizer=$candidate
done
[ -n "$sanitizer" ] || fail 'compute-sanitizer is not here; it is part of the CUDA toolkit'

if [ -z "${UNIT_TESTS:-}" ] || [ -z "${BACKEND_TESTS:-}" ]; then
    # An empty variable is not the same as none: the binding generator would look there alone.
    libclang=$(container/setup.sh --libclang)
    if [ -n "$libclang" ]; then export LIBCLANG_PATH=$libclang; else unset LIBCLANG_PATH; fi
    built=$(cargo test --release --locked --lib --test backends --no-run --message-format json)
    binary() { printf '%s\n' "$built" | sed -n 's/.*"kind":\["'"$1"'"\].*"executable":"\([^"]*\)".*/\1/p'; }
    : "${UNIT_TESTS:=$(binary lib)}" "${BACKEND_TESTS:=$(binary test)}"
fi
for binary in "$UNIT_TESTS" "$BACKEND_TESTS"; do
    [ -x "$binary" ] || fail "${binary:-a binary of the tests} is not here"
done

check() { # tool, binary, test
    echo "== $1: $3"
    "$sanitizer" --tool "$1" --error-exitcode 3 "$2" --exact "$3" --nocapture 2>&1 | tee "$log"
    # Without a device the test says so and passes: that is no check. Nor is a name that no test has.
    if grep -q 'skipped: ' "$log"; then fail 'no GPU, nothing was checked'; fi
    grep -q '^test result: ok\. 1 passed; 0 failed; 0 ignored;' "$log" || fail "no test is named $3, nothing was checked"
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT
for tool in "$@"; do
    check "$tool" "$BACKEND_TESTS" cuda::policies::tiny_models_agree_with_float64_in_every_policy_at_two_shapes
    for name in attention_of_bert_agrees_with_float64 causal_attention_of_gpt2_agrees_with_float64 \
        attention_of_fp32_tensors_agrees_with_float64 \
        sizes::attention_of_wider_heads_agrees_with_float64_at_every_length \
        rounded::attention_under_fp16_has_the_bits_of_single_operations_at_one_shape \
        qkv::a_sequence_that_overflows_leaves_the_others_of_its_unit_alone walks::products_whose_blocks_walk_over_many_tiles_agree_with_float64 \
        qkv_cluster::a_sequence_that_overflows_leaves_the_others_of_its_cluster_alone \
        rounded::a_layer_norm_of_any_width_has_the_bits_of_single_steps \
        every_choice_for_heads_of_32_agrees_with_float64 tally::a_norms_rows_are_counted_by_what_overflows \
        tally::elements_are_counted_by_kind_without_padding_and_masked_scores; do
        check "$tool" "$UNIT_TESTS" "backend::cuda::device_tests::$name"
    done
done
