# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

PYTHON ?= python3
PIP = .venv/bin/pip install -qq --disable-pip-version-check 'ansible-core>=2.17' -r meta/ee-requirements.txt -r lab/requirements.txt

.PHONY: help demo lab test test-versions test-long bench clean packages test-packages

help:  ## Show this list
	@sed -n 's/^\([a-z-]*\):.*  ## /make \1\t/p' Makefile | expand -t 20

demo: .venv/run  ## Ferry five keys from a SoftHSM token into a local Azure, and prove them
	@bash lab/demo/run.sh

lab: .venv/run  ## Start the lab and say how to go on by hand
	@.venv/bin/python -m lab start --tolerate-trailing-zeros
	@echo 'But first: . .venv/bin/activate (and to end it: python -m lab stop)'

test: .venv/test  ## Run all checks
	@.venv/bin/python tests/run.py

test-versions: .venv/test  ## Run what ansible-test checks on each Python, with old and new ansible-core and libraries
	@.venv/bin/python tests/run.py --versions

test-long: .venv/test  ## Run both, and what is too slow for every commit
	@.venv/bin/python tests/run.py --long

bench: .venv/run  ## Measure what docs/performance.md says, and write it there
	@.venv/bin/python benchmarks/run.py

clean:  ## Remove what these targets made
	@[ ! -d .lab ] || .venv/bin/python -m lab stop || true
	rm -rf .venv .cache .demo .lab

# Install by apt what pip can't; $(1) is shell code that adds the names of packages to $$missing.
define install
@missing=; $(1) \
	[ -z "$$missing" ] && exit; \
	[ "$$(id -u)" = 0 ] && sudo= || sudo=sudo; \
	echo Installing by apt: $$missing; \
	$$sudo apt-get update -qq && $$sudo apt-get install -qq -y $$missing || { \
		echo This needs apt, and root or sudo. Please install $$missing, then run make again. >&2; exit 1; }
endef

# venv itself, a token, and another implementation to test against.
packages:
	$(call install, \
	$(PYTHON) -c 'import ensurepip; import venv' 2>/dev/null || missing=python3-venv; \
	command -v softhsm2-util >/dev/null || missing="$$missing softhsm2"; \
	command -v openssl >/dev/null || missing="$$missing openssl";)

# A second token, and what the stand-ins for HSMs are compiled with.
test-packages:
	$(call install, \
	command -v gcc >/dev/null || missing="gcc libc6-dev"; \
	ls /usr/lib/*/libsoftokn3.so >/dev/null 2>&1 || missing="$$missing libnss3"; \
	command -v certutil >/dev/null || missing="$$missing libnss3-tools"; \
	command -v ssh-keygen >/dev/null || missing="$$missing openssh-client";)

.venv/bin/python: | packages
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Keyferry needs Python 3.10 or newer: make PYTHON=python3.12")'
	@$(PYTHON) -m venv .venv

.venv/run: meta/ee-requirements.txt lab/requirements.txt | .venv/bin/python
	@$(PIP)
	@touch $@

.venv/test: tests/requirements.txt tests/unit/requirements.txt .venv/run | test-packages
	@$(PIP) -r tests/requirements.txt
	@touch $@
