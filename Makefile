# The two commands of the README are `make app` and `make test`; each makes the environment it needs.
PYTHON ?= python3.11
BIN := .venv/bin

# A file is one worker's, in the order of tests/conftest.py: long ones first.
WORKERS := -n auto --dist loadfile --no-loadscope-reorder

.PHONY: app check test lint chromium

app: .venv/.ready audits/demo/.made
	@$(BIN)/cfbd app --audit audits/demo

# The tests that need no browser, no training and no benchmark, and lint and types: what to run before each commit.
check: lint
	$(BIN)/python -m pytest $(WORKERS) -m "not browser and not training and not bench and not slow"

test: .venv/.ready-dev chromium
	$(BIN)/python -m pytest $(WORKERS)

lint: .venv/.ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python tools/check_sql.py

# Made once: auditing it again would put back the sliders that someone moved in the app.
audits/demo/.made: | .venv/.ready
	$(BIN)/cfbd demo --audit audits/demo
	touch $@

.venv/.ready: requirements.txt pyproject.toml setup.py
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet -r requirements.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

.venv/.ready-dev: .venv/.ready requirements-dev.txt
	$(BIN)/pip install --quiet -r requirements-dev.txt
	touch $@

# Browser tests skip, and say so, where no Chromium is found and none can be installed.
chromium:
	@command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
		&& apt-get update -q >/dev/null && apt-get install -y -q --no-install-recommends chromium >/dev/null; } \
		|| echo "no Chromium here: the browser tests will be skipped"
