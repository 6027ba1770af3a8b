# Each target makes `.venv` and installs what it needs; nothing outside this folder and the package caches is touched.
.PHONY: demo stack stack-stop stack-status test test-all test-bounds storm lint format bench bench-folds bench-cvar bench-portfolio app clean

PORT ?= 8501
STORE ?= .quantbot/store
ROUNDS ?= 200
PYTEST ?= .venv/bin/python -m pytest --numprocesses 2 --dist worksteal

demo: .venv/.extras-demo
	.venv/bin/quantbot demo --store $(STORE) --port $(PORT)

# The whole service on this machine, until Ctrl-C: S3, scheduler, two workers, runner, app, schedule.
stack: .venv/.extras-stack
	.venv/bin/python infra/local/stack.py up --port $(PORT)

stack-stop stack-status:
	.venv/bin/python infra/local/stack.py $(patsubst stop,down,$(@:stack-%=%))

test: .venv/.extras-dev
	$(PYTEST) -m "not slow"

test-all: .venv/.extras-dev
	$(PYTEST)

# Every kernel with its indices checked, in a cache of its own: compiled so they are several times slower.
test-bounds: .venv/.extras-dev
	NUMBA_BOUNDSCHECK=1 QUANTBOT_CACHE_DIR=.quantbot/checked-kernels $(PYTEST) -m "not slow" --timeout 1800 tests/quantbot

# Kills at random, and the same digests. Rounds that were run are not run again: stop it, and go on another time.
storm: .venv/.extras-dev
	.venv/bin/python bench/kill_storm.py --rounds $(ROUNDS) --folder .quantbot/storm --out .quantbot/storm/rounds.jsonl

lint: .venv/.extras-dev
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy

format: .venv/.extras-dev
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

app: .venv/.extras-demo
	.venv/bin/quantbot app --store $(STORE) --port $(PORT)

# The peers that we measure against live in environments of their own and are never installed beside us.
bench: .venv/.extras-dev bench/.env-vectorbt/.installed
	.venv/bin/python bench/bars.py --peer-python bench/.env-vectorbt/bin/python

bench-folds: .venv/.extras-dev bench/.env-skfolio/.installed
	.venv/bin/python bench/folds.py --peer-python bench/.env-skfolio/bin/python --check

bench-cvar: .venv/.extras-dev bench/.env-cvar/.installed
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 .venv/bin/python bench/cvar.py --peer-python bench/.env-cvar/bin/python

bench-portfolio: .venv/.extras-dev bench/.env-vectorbt/.installed
	.venv/bin/python bench/portfolio.py --peer-python bench/.env-vectorbt/bin/python

bench-book: .venv/.extras-dev bench/.env-hftbacktest/.installed
	.venv/bin/python bench/book_parity.py --peer-python bench/.env-hftbacktest/bin/python
	.venv/bin/python bench/book.py --peer-python bench/.env-hftbacktest/bin/python

bench/.env-%/.installed: bench/requirements-%.txt .venv/.extras-dev
	.venv/bin/uv venv --quiet --allow-existing bench/.env-$*
	.venv/bin/uv pip install --quiet --python bench/.env-$*/bin/python -r $<
	touch $@

.venv/.extras-%: pyproject.toml infra/make_venv.sh
	bash infra/make_venv.sh $*
	touch $@

clean:
	rm -rf .venv bench/.env-* .mypy_cache .ruff_cache .pytest_cache .hypothesis
