#!/usr/bin/env bash
# Typesets the paper. usage: paper/pdf.sh GENERATED OUT, both below paper/: what `mixprec report --latex` wrote, and where to.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
command -v latexmk >/dev/null || {
    echo 'no latexmk: run container/setup.sh --paper' >&2
    exit 2
}
latexmk -pdf -usepretex="\\def\\MixprecGenerated{$1}" -outdir="$2" -interaction=nonstopmode -halt-on-error -silent main.tex
