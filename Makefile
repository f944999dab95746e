# make run: serve on 127.0.0.1:8000.   make test: the tests, in under five minutes on two cores.

# The Python that makes the environment: 3.11 to 3.14, the system's own first. PYTHON=python3.12 picks one.
FIT := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))
ifndef PYTHON
PYTHON := $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c '$(FIT)' 2>/dev/null && echo $$python && break; done)
endif
VENV := .venv
# Each start of the gateway would compile it again: 1.3 s of CPU instead of 0.4.
unexport PYTHONDONTWRITEBYTECODE
BIN := $(VENV)/bin
ATTACK := .venv-attack

.PHONY: run page page-deps test test-long test-deps pristine docker-lint python wheel bench attack fuzz audit sbom soak lint types smoke check requirements openapi clients tracing clean

run: $(VENV)/run
	$(BIN)/gunicorn -c gunicorn.conf.py wsgi:app

check: $(VENV)/run
	$(BIN)/python -m flask_gateway check

# Four at a time, a file at a time: many tests wait for something, so two cores carry four. Tests of programs that
# are not installed are left out, and the last line names them; where CI is set they fail.
test: $(VENV)/dev | tests/__pycache__
	$(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder

# In a new clone all four would rewrite the asserts of all files: two do it before, each a half.
tests/__pycache__: | $(VENV)/dev
	-@find tests -name 'test_*.py' | xargs -P 2 -n 320 $(BIN)/python -m pytest -q --collect-only >/dev/null

# The tests marked `long`: a wheel is built, installed and served, workers are killed over and over. CI runs them, too.
test-long: $(VENV)/dev
	$(BIN)/python -m pytest -n 4 --dist loadfile -m 'long and not soak' $$(grep -rlF mark.long --include='test_*.py' tests)

# The operator's page in a real Chromium behind nginx. `make page-deps` installs both.
# PICTURES=docs/pictures makes the pictures of the documents. BRIEF=1: a part, in two browsers, as CI runs it.
page: $(VENV)/dev
	$(BIN)/python -m pytest -m browser --dist loadgroup $(if $(BRIEF),$(BRIEF_PAGE),tests/scenarios/page/ -n 3)
BRIEF_PAGE := $(addprefix tests/scenarios/page/test_,whole.py login.py try.py walk.py) -n 2 \
	-k "not (1280-dark or 360-light)"

# The package for pip, in dist/.
wheel: $(VENV)/dev
	rm -rf build
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

# The programs that some tests need, on Debian.
test-deps:
	missing=; have() { command -v $$1 >/dev/null || missing="$$missing $$2"; }; \
	have redis-server redis-server; have nginx nginx-light; have curl curl; have openssl openssl; \
	ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$$missing postgresql"; \
	have systemd-analyze systemd; have ip iproute2; have zsh zsh; have fish fish; \
	if [ -n "$$missing" ]; then \
		apt() { $(if $(filter-out 0,$(shell id -u)),sudo) env DEBIAN_FRONTEND=noninteractive apt-get -qq "$$@"; }; \
		apt update && apt install -y --no-install-recommends $$missing; fi

# The programs that `make page` needs, on Debian: nginx, and a Chromium of 400 MB.
page-deps: test-deps
	command -v chromedriver >/dev/null && command -v chromium >/dev/null || { \
		apt() { $(if $(filter-out 0,$(shell id -u)),sudo) env DEBIAN_FRONTEND=noninteractive apt-get -qq "$$@"; }; \
		apt update && apt install -y --no-install-recommends chromium chromium-driver; }

# The README's commands and all tests on a pristine Debian, 12 or 13: make pristine DEBIAN=12. As root.
DEBIAN ?= 13
pristine:
	.ci/pristine $(DEBIAN) whole

# The Dockerfile by hadolint, compose.yaml by its schema.
LINT := .venv-docker-lint
docker-lint: $(LINT)/made
	$(LINT)/bin/hadolint Dockerfile
	$(LINT)/bin/check-jsonschema --builtin-schema vendor.compose-spec compose.yaml
	$(LINT)/bin/yamllint -d '{extends: default, rules: {document-start: disable, line-length: {max: 120}}}' \
		compose.yaml docker

$(LINT)/made: docker/requirements-lint.txt | python
	$(PYTHON) -m venv $(LINT)
	$(LINT)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

# The interface as it is described, tried on a running server by schemathesis.
attack: $(ATTACK)/made $(VENV)/dev
	$(BIN)/python -m pytest -m attack

# Coverage-guided, each target for so long: make fuzz SECONDS=600
SECONDS ?= 60
fuzz: $(ATTACK)/made
	for target in body sse answer settings; do \
		$(ATTACK)/bin/python tests/fuzz/run.py $$target -max_total_time=$(SECONDS) || exit 1; done

# Known faults of what is installed at run time. With AUDIT=--where-possible it is no failure when no advisory
# database can be reached; findings always are one.
AUDIT ?=
audit: $(ATTACK)/made
	$(ATTACK)/bin/python deploy/audit.py $(AUDIT)

# What is installed at run time, as CycloneDX.
sbom:
	@$(PYTHON) deploy/sbom.py

# The long forms of the tests. Their last results are in docs/benchmarks.md.
# The property tests try few examples in `make test`, and all of them here.
soak: $(ATTACK)/made $(VENV)/dev
	EXAMPLES=full $(BIN)/python -m pytest -n 2 --dist loadfile tests/guards tests/state tests/dialects tests/config \
		tests/model tests/scenarios/test_laws.py tests/scenarios/test_fuzz.py tests/scenarios/test_drivers.py \
		tests/scenarios/test_exactness.py
	$(BIN)/python -m pytest -m soak -v --durations=0

# Claude Code, Codex and OpenAI's SDK for Node through a running gateway, with scripted upstreams, and LiteLLM as an
# upstream. They weigh 1.4 GB, so npm and pip install them for this alone. Their versions are in tests/clients/package.json, the last results in docs/clients.md.
LITELLM := .venv-litellm
clients: .clients/made $(LITELLM)/made $(VENV)/dev
	$(BIN)/python -m pytest -m clients -v --durations=0 tests/scenarios/test_clients.py \
		tests/scenarios/test_node_sdk.py tests/scenarios/test_real_litellm.py

$(LITELLM)/made: tests/clients/requirements-litellm.txt | python
	$(PYTHON) -m venv $(LITELLM)
	$(LITELLM)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

.clients/made: tests/clients/package.json tests/clients/package-lock.json
	mkdir -p .clients
	cp $^ .clients/
	cd .clients && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

# A stream that failed over, as a real Phoenix shows it. It is 850 MB, so PyPI is asked for it for this alone.
PHOENIX := .venv-phoenix
tracing: $(PHOENIX)/made $(VENV)/dev
	$(BIN)/python -m pytest -m phoenix -v -s tests/scenarios/test_phoenix.py

$(PHOENIX)/made: tests/clients/requirements-phoenix.txt | python
	$(PYTHON) -m venv $(PHOENIX)
	$(PHOENIX)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

lint: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/dev
	$(BIN)/mypy

# What it costs beside others. Needs wrk and nginx (on Debian: apt install wrk nginx-light). With PEERS=1
# others are installed, each into an environment of its own. ARGS: see python -m bench.run --help.
PEERS ?= 0
ARGS ?=
bench: $(VENV)/dev
	PEERS=$(PEERS) $(BIN)/python -m bench.run $(ARGS)

# Against a gateway that runs already: make smoke URL=http://127.0.0.1:8000 KEY=dev-key
URL ?= http://127.0.0.1:8000
KEY ?= dev-key
smoke:
	deploy/smoke.sh $(URL) $(KEY)

$(VENV)/bin/python: | python
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "On Debian: apt install python3-venv"; exit 1; }

python:
	@$(if $(PYTHON),,echo "There is no Python 3.11 to 3.14 here. On Debian 12 and later: apt install python3 python3-venv"; exit 1)
	@$(PYTHON) -c '$(FIT)' || { echo "$(PYTHON) is not one of Python 3.11 to 3.14"; exit 1; }

# The files mark what the environment holds: made anew when the pins change.
$(VENV)/run: requirements.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@touch $@

$(VENV)/dev: requirements-dev.txt requirements-dev-older.txt $(VENV)/run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes \
		-r requirements-dev.txt -r requirements-dev-older.txt
	@touch $@

# An environment of its own: what attacks is not to be among what is tested.
$(ATTACK)/made: requirements-attack.txt
	$(PYTHON) -m venv $(ATTACK)
	$(ATTACK)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-attack.txt
	@touch $@

# Pin anew, after a change of the dependencies in pyproject.toml.
COMPILE = $(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras \
	--no-emit-index-url --no-emit-find-links --no-header
requirements: $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet pip-tools
	$(COMPILE) --extra br -o requirements.txt pyproject.toml
	$(COMPILE) --extra dev -c requirements.txt -o requirements-dev.txt pyproject.toml
	$(COMPILE) --extra attack -c requirements-dev.txt -o requirements-attack.txt pyproject.toml

# docs/openapi.yaml and docs/openapi-admin.yaml as the gateway serves them, one key a line, so that changes merge. A test compares the two files.
openapi: $(VENV)/dev
	$(BIN)/python -c 'import json, yaml; print(json.dumps(yaml.safe_load(open("docs/openapi.yaml")), indent=1))' \
		> flask_gateway/web/openapi.json
	$(BIN)/python -c 'import json, yaml; print(json.dumps(yaml.safe_load(open("docs/openapi-admin.yaml")), indent=1))' \
		> flask_gateway/web/admin/openapi.json

clean:
	rm -rf $(VENV) $(ATTACK) $(LINT) $(PHOENIX) $(LITELLM) .clients .pytest_cache .mypy_cache .ruff_cache .hypothesis
