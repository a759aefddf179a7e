#!/usr/bin/env bash
# Builds the fuzz targets and runs them, with the installed Rust and a C++ compiler: no nightly toolchain and no cargo-fuzz.
#
# usage: fuzz/run.sh [--seconds N] [TARGET...]     every target for 60 seconds unless said otherwise
#        fuzz/run.sh --replay                      seeds and regressions once, without fuzzing
#        fuzz/run.sh --seeds                       writes fuzz/seeds anew with target/release/mixprec
#
# Only the program and the targets are instrumented (rustc.sh), so that the dependencies in target/ serve as they are.
# Without a sanitizer a fault of memory safety shows only as a crash; the program's own code has none to offer outside the
# backends of CUDA and TensorRT. What a run adds is kept in fuzz/corpus, what breaks something in fuzz/artifacts.
# `cargo fuzz run TARGET` works as well, and compiles everything with a sanitizer.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

readonly ALL=(manifest claims checkpoint tokenizer journal tables report onnx input cache)
seconds=60
mode=fuzz
targets=()
while [ $# -gt 0 ]; do
    case "$1" in
        --seconds) seconds="${2:?--seconds needs a number}"; shift ;;
        --replay) mode=replay ;;
        --seeds) mode=seeds ;;
        -*) sed -n 's/^# \{0,1\}//; 2,11p' "$0" >&2; exit 2 ;;
        *) targets+=("$1") ;;
    esac
    shift
done
[ ${#targets[@]} -gt 0 ] || targets=("${ALL[@]}")

# A run of a small manifest, as the readers of results see it.
write_seeds() {
    local scratch program
    program="${CARGO_TARGET_DIR:-$PWD/../target}/release/mixprec"
    scratch="$(mktemp -d)"
    trap 'rm -rf "$scratch"' RETURN
    cp seeds/run.yaml "$scratch/"
    "$program" run "$scratch/run.yaml" --out "$scratch/run" >/dev/null
    python3 - "$scratch/run" <<'PYTHON'
import json, pathlib, sys
run, seeds = pathlib.Path(sys.argv[1]), pathlib.Path("seeds")
lines = [line[17:] for line in (run / "journal.jsonl").read_text().splitlines()]
plan = json.loads((run / "plan.json").read_text())
plan["base_dir"] = "."
environment = json.loads(next((run / "environments").iterdir()).read_text())
base = {"plan": plan, "records": [json.loads(line) for line in lines[1:]], "environment": environment}
(seeds / "run.json").write_text(json.dumps(base, separators=(",", ":")) + "\n")
for name in ["journal", "tables"]:
    (seeds / name).mkdir(exist_ok=True)
(seeds / "journal/run").write_text("".join(f"~{line}\n" for line in lines[:3]))
for name in ["results", "samples"]:
    (seeds / f"tables/{name}.parquet").write_bytes((run / f"{name}.parquet").read_bytes())
PYTHON
}

if [ "$mode" = seeds ]; then
    write_seeds
    exit
fi

export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/../target}"
# An empty variable is not the same as none: the binding generator would look there alone.
libclang="$(../container/setup.sh --libclang)"
if [ -n "$libclang" ]; then export LIBCLANG_PATH="$libclang"; else unset LIBCLANG_PATH; fi
RUSTC_WRAPPER="$PWD/rustc.sh" cargo build --release --locked --bins

for target in "${targets[@]}"; do
    mkdir -p "corpus/$target" "artifacts/$target"
    inputs=()
    for folder in "seeds/$target" "regressions/$target"; do
        if [ -d "$folder" ]; then inputs+=("$folder"); fi
    done
    # Files of the repository that are inputs already.
    case "$target" in
        manifest) for file in ../experiments/*.yaml; do cp "$file" "corpus/manifest/"; done ;;
        claims) cp ../experiments/claims.yaml corpus/claims/ ;;
    esac
    options=(-timeout=20 -rss_limit_mb=4096 "-artifact_prefix=artifacts/$target/" -print_final_stats=1)
    if [ -f "dictionaries/$target" ]; then options+=("-dict=dictionaries/$target"); fi
    if [ "$mode" = replay ]; then
        options+=(-runs=0)
    else
        # Not the default of 4096 bytes: a table is larger.
        options+=("-max_total_time=$seconds" -max_len=65536)
    fi
    echo "== $target"
    # Targets that draw figures or read tables start threads; they share one processor.
    POLARS_MAX_THREADS=1 RAYON_NUM_THREADS=1 "$CARGO_TARGET_DIR/release/fuzz-$target" \
        "${options[@]}" "corpus/$target" ${inputs[@]+"${inputs[@]}"}
done
