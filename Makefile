# SPDX-License-Identifier: GPL-3.0-or-later
# What is built or fetched lies outside the tree, under CACHE. STATE is this checkout's own part of it.
SHELL := /bin/bash
CACHE ?= $(HOME)/.cache/virt-sandbox
STATE := $(CACHE)/checkout-$(shell printf %s '$(CURDIR)' | sha256sum | cut -c1-12)

export LC_ALL := C.UTF-8
export PATH := $(STATE)/venv/bin:$(PATH)
export ANSIBLE_COLLECTIONS_PATH := $(STATE)/collections
export PYTHONDONTWRITEBYTECODE := 1

.DEFAULT_GOAL := help
.PHONY: help setup walkthrough lab lab-tests lab-prepared lab-down test check lint format generate sanity unit threats hosts hosts-more molecule molecule-one env soak bench clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS=$$'\t' read -r name text; do printf '  make %-12s %s\n' "$$name" "$$text"; done

setup: ## install what the other targets need: Debian packages, and Python packages outside the tree (seconds; nothing the second time)
	@mkdir -p $(CACHE) && tests/tools/setup.sh $(CACHE) $(STATE)

# Ansible does not look for callbacks beside a playbook that lies in a collection's directory.
walkthrough: export ANSIBLE_CALLBACK_PLUGINS := $(CURDIR)/playbooks/callback_plugins
walkthrough: export ANSIBLE_DISPLAY_OK_HOSTS := false
walkthrough: export ANSIBLE_DISPLAY_SKIPPED_HOSTS := false
walkthrough: lab ## show every step on plain Debian 12 and Debian 13 hosts whose kernel enforces SELinux
	ansible-playbook playbooks/walkthrough.yml

lab: setup ## start the disposable hosts afresh, plain Debian, building their images first if need be
	ansible-playbook playbooks/lab_up.yml -e lab_image=plain -e lab_fresh=true

# What Debian 12 shows from nothing, with minutes of installing packages, Debian 13 has already.
lab-tests: setup ## the same for "make test": debian13 has the packages of the walkthrough from the start
	ansible-playbook playbooks/lab_up.yml -e lab_image=plain -e lab_fresh=true -e '{"lab_stocked": ["debian13"]}'

lab-prepared: setup ## the same on images that the role host has prepared
	ansible-playbook playbooks/lab_up.yml -e lab_fresh=true

lab-down: setup ## stop the disposable hosts
	ansible-playbook playbooks/lab_down.yml

test: setup ## everything: lint, sanity, unit, threats, and the tests on the lab's hosts
	@python tests/tools/run_stages.py --logs $(STATE)/logs $(if $(CI),,--keep-lab)

check: setup ## what a change needs before it is handed in: lint, sanity and unit, in three to four minutes, with no lab
	@python tests/tools/run_stages.py --logs $(STATE)/logs --only check

lint: setup ## ruff, mypy, ansible-lint (production)
	@status=0; run() { echo "+ $$*"; "$$@" || status=1; }; \
	run ruff check; \
	run ruff format --check; \
	run env -C $(STATE)/collections mypy --config-file $(CURDIR)/pyproject.toml -p ansible_collections.virt.sandbox.plugins.module_utils; \
	run ansible-lint --offline --strict; \
	exit $$status

format: setup ## put the Python files into the house's form
	ruff check --fix
	ruff format

generate: setup ## write the modules' option documentation and the roles' argument specs from the definitions of options, and the golden files
	PYTHONPATH=$(STATE)/collections python tests/tools/generate.py
	python tests/tools/seccomp_filter.py
	GOLDEN=write pytest -q tests/unit/test_golden.py

sanity: setup ## ansible-test sanity, with no ignore file
	@tests/tools/sanity.sh $(STATE)

unit: setup ## unit tests: seconds, no root
	pytest --numprocesses=2 tests/unit

threats: setup ## attacks on the tree engine, on this machine, as root
	pytest tests/threats

# What an hour has room for: the walkthrough, on Debian 12 its steps without a reboot and databases, and each other test on one
# host. All of it on both is for hosts-more, and the steps for "make walkthrough" too. S26 installs virtual machines, which
# takes minutes.
STEPS_debian12 := 16
STEPS_debian13 := 25
ON_debian12 := $(addprefix tests/integration/test_,service.py bad_input.py network.py) \
	$(addprefix tests/isolation/test_,isolation_info.py levels.py limits.py seccomp.py threats_inside.py) tests/faults
ON_debian13 := tests/integration/test_playbook_example.py \
	$(addprefix tests/isolation/test_,guards.py labels_stay.py managed_network.py shared.py kept_waiting.py bytes.py disk.py)
hosts: setup ## the walkthrough's steps, and other tests on the lab's hosts ("make lab" first), on each at its own pace
	@python tests/tools/run_stages.py --logs $(STATE)/logs --only hosts

hosts-%: setup
	VSBX_HOSTS=$* VSBX_STEPS="$$(seq -s ' ' -f S%g $(STEPS_$*))" pytest -m 'not more' --durations=20 tests/integration/test_walkthrough.py $(ON_$*)

hosts-more: setup ## all tests on the lab's hosts
	VSBX_WAITS=all pytest --durations=20 tests/integration tests/isolation tests/faults

# Each scenario has a host of its own, from create to destroy. One that fails does not keep the next from running.
SCENARIOS ?= $(notdir $(patsubst %/molecule.yml,%,$(wildcard extensions/molecule/*/molecule.yml)))
molecule: setup ## each role's scenario on a host of its own; some with SCENARIOS="httpd service", Debian 12 with VSBX_DISTRIBUTION=debian12
	@status=0; for scenario in $(SCENARIOS); do molecule test --scenario-name $$scenario || status=1; done; exit $$status

molecule-one: setup ## the scenario of the role beneath the others, which changes most, on a host that "make hosts" has prepared
	VSBX_MOLECULE_HOST=debian13 molecule test --scenario-name service

env: ## after "make setup", what a shell needs to run molecule, pytest or ansible-playbook itself: eval "$$(make -s env)"
	@printf 'export LC_ALL=C.UTF-8 PATH=%s:$$PATH ANSIBLE_COLLECTIONS_PATH=%s PYTHONDONTWRITEBYTECODE=1\n' $(STATE)/venv/bin $(STATE)/collections

SOAK ?= 10000
soak: setup ## at length what the tests sample: races of SOAK attempts each, trees of units, many levels, and a race inside sandboxes ("make lab-prepared" first)
	UNIT_TREE_EXAMPLES=3000 pytest tests/unit/test_unit_tree.py
	SOAK=$(SOAK) pytest --durations=5 -rP tests/threats/test_threat_02_directory_is_swapped.py
	VSBX_LEVELS=100000 VSBX_RACES=64 pytest tests/isolation/test_levels.py tests/isolation/test_threats_inside.py

bench: lab-prepared ## measure, on this machine and on the lab's hosts
	for bench in tests/bench/bench_*.py; do PYTHONPATH=$(STATE)/collections python $$bench || exit 1; done

clean: ## forget this checkout's state (not the lab's images, nor the Python packages)
	rm -rf $(STATE)
