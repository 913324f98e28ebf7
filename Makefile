# The usual ways into the project; each works on a fresh machine (Debian packages are installed when missing).
#   make            build/runnel
#   make demo       endless text from the bundled model, until Ctrl-C (DEMO_TOKENS=N stops after N tokens)
#   make chat       talk with SmolLM2, a real model, past its window (fetched once, 98 MB); MODEL=FILE or NAME: another
#   make pull       fetch models that tests and examples want (MODELS="smollm2 gemma3-270m qwen2.5-coder-0.5b")
#   make test       all tests
#   make test-portable   the same without any flag for an instruction set (in build-portable)
#   make test-aarch64    the same for 64-bit ARM: cross compiler and emulator (in build-aarch64)
#   make test-templates  chat templates of 70 public models (fetched once, 77 MB), 5,040 dialogues, against Python's jinja2
#   make experiments TEXT=BOOK   the paper's experiments on the pulled models (OUT=build/experiments, LIMIT=6000, CACHE=256)
#   make bench      speed of the bundled model on this machine
#   make bench-kernels   each kernel of each instruction set beside its limit (FILTER=avx512/product/Q4_0)
#   make bench-compare BASE=REF   every speed of docs/performance.md beside another commit's, in turn (MODELS=, SHAPES=, ROUNDS=2)
#   make million    a stream of a million tokens: speed, likelihood and memory of each tenth (MODEL=, TEXT=)
#   make t3         the paper's table 3 from three trained models (T3=FOLDER TEXT=FILE; docs/training.md)
#   make deb        Debian packages (in build-deb/debs);  make test-debs: and try them in Debian 12 and 13 (root)
#   make docs       the documents as a site, in build/site
#   make wheels     source archive and Python wheels (in build/wheels; PYTHONS="python3.11 python3.13")
#   make install    PREFIX (default /usr/local), DESTDIR
#   make format     clang-format in place;  make lint: clang-format and clang-tidy as checks
BUILD := build
PREFIX ?= /usr/local
DEMO_MODEL := models/novella-7m-q8_0.gguf
DEMO_PROMPT := It was a dark and stormy night, and the old man sat by the fire, listening to the wind.
FORMATTED = $(shell git ls-files '*.cpp' '*.h' '*.inl' | grep -v '^build')

.PHONY: all packages test-packages venv configure configure-native configure-tests demo chat pull test test-portable test-aarch64 test-templates bench bench-kernels bench-compare million t3 deb test-debs wheels docs install format lint clean

all: configure
	@$(COMPILE)

packages:
	@scripts/install-packages.sh

test-packages:
	@scripts/install-packages.sh --tests

venv: test-packages
	@scripts/python-venv.sh $(BUILD)/venv
	@scripts/python-venv.sh $(BUILD)/venv-transformers requirements-transformers.txt

# Programs that compile at once: one for each core, as long as each has 1.25 GB of memory.
JOBS := $(shell awk -v cores="$$(nproc)" '/^MemAvailable/ { n = int($$2 / 1250000); print n < 1 ? 1 : n < cores ? n : cores }' /proc/meminfo)
COMPILE = cmake --build $(BUILD) -j $(or $(JOBS),1)

CONFIGURE = cmake -B $(BUILD) -DCMAKE_BUILD_TYPE=Release -DRUNNEL_UNITY=ON $(CMAKE_FLAGS) \
  $$(command -v ninja >/dev/null && echo "-G Ninja") \
  $$(command -v ccache >/dev/null && echo "-DCMAKE_CXX_COMPILER_LAUNCHER=ccache")

IS_CONFIGURED = { [ -f $(BUILD)/build.ninja ] || [ -f $(BUILD)/Makefile ]; }
HAS_ALL_KERNELS = ! grep -qs RUNNEL_KERNELS:STRING=native $(BUILD)/CMakeCache.txt

# The library and the program; tests and benchmarks join when they are first asked for. To be run here and now, with the
# kernels of this machine alone; the others join when everything is built.
configure-native: packages
	@$(IS_CONFIGURED) || $(CONFIGURE) -DRUNNEL_TESTS=OFF -DRUNNEL_BENCH=OFF -DRUNNEL_KERNELS=native

configure: packages
	@$(IS_CONFIGURED) || $(CONFIGURE) -DRUNNEL_TESTS=OFF -DRUNNEL_BENCH=OFF
	@$(HAS_ALL_KERNELS) || cmake -B $(BUILD) -DRUNNEL_KERNELS=all

configure-tests: test-packages
	@{ grep -qs RUNNEL_TESTS:BOOL=ON $(BUILD)/CMakeCache.txt && $(IS_CONFIGURED) && $(HAS_ALL_KERNELS); } || \
	  $(CONFIGURE) -DRUNNEL_TESTS=ON -DRUNNEL_BENCH=ON -DRUNNEL_KERNELS=all

demo: configure-native
	@$(COMPILE) --target runnel_cli
	@$(BUILD)/runnel generate $(DEMO_MODEL) -p "$(DEMO_PROMPT)" $(if $(DEMO_TOKENS),-n $(DEMO_TOKENS))

pull: configure-native
	@scripts/install-packages.sh python3-pip
	@$(COMPILE) --target runnel_cli
	@for model in $(or $(MODELS),smollm2); do $(BUILD)/runnel pull $$model || exit; done

# A window of 512 tokens is full after a few answers; then the oldest turns are forgotten, and it goes on.
chat: $(if $(MODEL),configure-native,pull)
	@$(COMPILE) --target runnel_cli
	@$(BUILD)/runnel chat $(or $(MODEL),smollm2) --window 512

test: configure-tests venv
	@grep -qs RUNNEL_PYTHON:BOOL=ON $(BUILD)/CMakeCache.txt || cmake -B $(BUILD) -DRUNNEL_PYTHON=ON >/dev/null
	@$(COMPILE)
	@cd $(BUILD) && ctest --output-on-failure --progress -j "$$(nproc)"

test-portable:
	@$(MAKE) --no-print-directory test BUILD=build-portable CMAKE_FLAGS=-DRUNNEL_PORTABLE=ON

test-aarch64:
	@scripts/install-packages.sh g++-aarch64-linux-gnu
	@scripts/arm64-sysroot.sh build-aarch64/sysroot
	@$(MAKE) --no-print-directory test BUILD=build-aarch64 CMAKE_FLAGS=-DCMAKE_TOOLCHAIN_FILE=$(CURDIR)/cmake/aarch64.cmake

test-templates: configure-tests venv
	@$(COMPILE) --target runnel_jinja_lines
	@scripts/public-templates.sh $(BUILD)/templates
	@cd tests/python && RUNNEL_TEMPLATES=$(abspath $(BUILD)/templates) RUNNEL_CONVERSATIONS=72 BUILD_DIR=$(abspath $(BUILD)) \
	  $(abspath $(BUILD)/venv/bin/python) -m pytest -q -p no:cacheprovider test_jinja.py

bench: configure-native
	@$(COMPILE) --target runnel_cli
	@$(BUILD)/runnel bench $(DEMO_MODEL)

experiments: MODELS = smollm2 gemma3-270m qwen2.5-coder-0.5b
experiments: pull
	@scripts/install-packages.sh gnuplot-nox
	@RUNNEL=$(BUILD)/runnel bench/experiments.sh $(or $(OUT),$(BUILD)/experiments) \
	  $(or $(TEXT),$(error experiments: want TEXT=BOOK, a text of some thousand words)) \
	  $$(for model in $(MODELS); do $(BUILD)/runnel pull $$model; done)

bench-kernels: configure-tests
	@$(COMPILE) --target bench_kernels
	@$(BUILD)/bench/bench_kernels $(if $(FILTER),--benchmark_filter="$(FILTER)")

bench-compare: test-packages
	@JOBS=$(or $(JOBS),1) bench/compare.sh $(or $(BASE),$(error bench-compare: want BASE=REF, the commit to compare with))

million: configure-tests
	@$(COMPILE) --target bench_million
	@$(BUILD)/bench/bench_million $(or $(MODEL),$(DEMO_MODEL)) 1000000 $(TEXT)

t3: configure
	@[ -d "$(T3)" ] && [ -f "$(TEXT)" ] || { echo 'make t3: want T3=FOLDER (of the three models) and TEXT=FILE' >&2; exit 2; }
	@$(COMPILE) --target runnel_cli
	@$(BUILD)/runnel table3 "$(T3)" "$(TEXT)" -o $(BUILD)/t3

install: all
	@DESTDIR="$(DESTDIR)" cmake --install $(BUILD) --prefix "$(PREFIX)"

deb: packages
	@scripts/install-packages.sh python3-venv python3-dev file dpkg-dev lintian
	@JOBS=$(or $(JOBS),1) scripts/debs.sh build-deb
	@lintian --fail-on error,warning build-deb/debs/*.deb

test-debs: deb
	@scripts/install-packages.sh debootstrap
	@export CHROOTS=$(BUILD)/chroots; for suite in bookworm trixie; do \
	  debs=build-deb/debs; \
	  grep -q "^VERSION_CODENAME=$$suite" /etc/os-release || { debs=build-deb/$$suite; scripts/debs-of.sh $$suite $$debs || exit; }; \
	  scripts/try-debs.sh $$suite $$debs all || exit; \
	done

wheels: packages
	@scripts/install-packages.sh python3-venv python3-dev
	@scripts/wheels.sh $(BUILD)/wheels $(PYTHONS)

docs:
	@scripts/install-packages.sh python3-venv
	@scripts/docs.sh $(BUILD)/site

format: test-packages
	@clang-format-14 -i $(FORMATTED)

lint: configure-tests
	@clang-format-14 --dry-run -Werror $(FORMATTED)
	@git ls-files 'src/*.cpp' | xargs -P "$$(nproc)" -n 4 clang-tidy-14 -p $(BUILD) --quiet

clean:
	@rm -rf $(BUILD)
