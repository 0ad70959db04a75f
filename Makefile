# SPDX-License-Identifier: Apache-2.0
# Everything that a person or a CI job runs. `make help` lists it.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

CARGO ?= cargo
CARGO_DENY_VERSION := 0.20.2
CARGO_FUZZ_VERSION := 0.13.2
ACTIONLINT_VERSION := v1.7.12
TERMTOSVG_VERSION := 1.4.1
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/gateherald
TOOLS := $(CACHE)/tools
# Run as built: `cargo run --package` would choose other features for what the programs depend on, and build all of it again.
RELEASE := $(or $(CARGO_TARGET_DIR),target)/release
CHAPTERS ?= handler wire failover moves load webhook
# command:Debian package
NEEDED := cc:build-essential cmake:cmake ip:iproute2 arping:iputils-arping nft:nftables setpriv:util-linux faketime:faketime \
	containerd:containerd runc:runc ptp:containernetworking-plugins chromium:chromium
# The same for `make pictures` alone.
NEEDED_FOR_PICTURES := asciinema:asciinema expect:expect python3:python3-venv

# The tests and the demo make network namespaces, so they run as root; what is built stays the user's.
ifneq ($(shell id -u),0)
SUDO := sudo -E
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER := $(SUDO)
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER := $(SUDO)
endif
# Building is not for root.
UNPRIVILEGED := env -u CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER -u CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER

.PHONY: help setup build cli images reproducible controlplane crd test test-cluster cluster cluster-down model fuzz demo bench failover lint lint-workflows chart plugin publish fmt fmt-check deny advisories pictures clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install the system packages that are missing
	@missing=""; \
	for need in $(NEEDED) $(NEEDED_TOO); do \
	  PATH="$$PATH:/usr/sbin:/sbin:/usr/lib/cni:/opt/cni/bin" command -v "$${need%%:*}" >/dev/null || missing="$$missing $${need##*:}"; \
	done; \
	if [ -n "$$missing" ]; then \
	  echo "installing:$$missing"; \
	  $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq --no-install-recommends $$missing; \
	fi
	@command -v go >/dev/null || { echo "Go is missing: see https://go.dev/doc/install (lab/controlplane/go.mod names the version)"; exit 1; }
	@command -v $(CARGO) >/dev/null || { echo "Rust is missing: see https://rustup.rs (rust-toolchain.toml names the version)"; exit 1; }

$(TOOLS)/bin/cargo-deny:
	@echo "building cargo-deny $(CARGO_DENY_VERSION) (once)"
	@$(CARGO) install --quiet --locked --root $(TOOLS) cargo-deny@$(CARGO_DENY_VERSION)

$(TOOLS)/bin/cargo-fuzz:
	@echo "building cargo-fuzz $(CARGO_FUZZ_VERSION) (once)"
	@$(CARGO) install --quiet --locked --root $(TOOLS) cargo-fuzz@$(CARGO_FUZZ_VERSION)

build: setup ## Build all programs
	$(CARGO) build --workspace --bins

images: setup ## Build both images FROM scratch, as OCI archives in target/images
	@$(UNPRIVILEGED) $(CARGO) run --quiet --package gateherald-lab -- images

reproducible: images ## Compile both images a second time, from the last commit in another directory, and compare
	@test -z "$$(git status --porcelain)" || { echo "commit first: the second compilation takes the last commit"; exit 1; }
	@elsewhere="$$(mktemp -d)"; trap 'rm -rf "$$elsewhere"' EXIT; \
	git clone --quiet . "$$elsewhere/tree"; \
	(cd "$$elsewhere/tree" && $(UNPRIVILEGED) $(CARGO) run --quiet --package gateherald-lab -- images); \
	for image in webhook announcer; do cmp {"$$elsewhere/tree/",}target/images/gateherald-$$image.tar; done; \
	sha256sum target/images/*.tar

cli: ## Build kubectl-gateherald for people: program, completion script and man pages in target/cli
	$(CARGO) build --release --package gateherald-cli
	@rm -rf target/cli && mkdir -p target/cli
	@install -m 755 target/release/kubectl-gateherald cli/completion/kubectl_complete-gateherald target/cli
	@$(UNPRIVILEGED) $(CARGO) run --quiet --release --package gateherald-cli --example man -- target/cli/man
	@cp LICENSE target/cli
	@echo "in target/cli; put both programs on the PATH, and the pages where man finds them"

controlplane: build ## Build the lab's control plane (etcd, Kubernetes, Helm) into the cache, once
	@$(UNPRIVILEGED) $(CARGO) run --quiet --package gateherald-lab -- build

crd: ## Write the chart's CustomResourceDefinition anew from model/src/crd.rs
	@$(CARGO) run --quiet --package gateherald-model --example crd > charts/gateherald/files/l2announcementpolicies.new
	@mv charts/gateherald/files/l2announcementpolicies.{new,yaml}

test: needs-root controlplane ## Run every test: tables, properties, a real API server, real frames
	$(CARGO) test --workspace

test-cluster: needs-root controlplane images ## Install the chart into a cluster with kubelets and pods, and try everything there
	$(CARGO) test --workspace --test cluster -- --test-threads 1

cluster: needs-root controlplane images ## Start that cluster and leave it running
	@$(CARGO) run --quiet --package gateherald-lab -- cluster up

cluster-down: needs-root ## Stop it
	@$(CARGO) run --quiet --package gateherald-lab -- cluster down

model: ## Search long for two owners: SEEDS=FROM..TO random schedules of the ownership rules
	GATEHERALD_MODEL_SEEDS=$(or $(SEEDS),0..300000) $(CARGO) test --package gateherald-announcer --lib claims::tests -- --nocapture

# RUSTC_BOOTSTRAP lets the pinned compiler instrument for coverage. Without sanitizers: there is no unsafe code in what is fuzzed.
fuzz: setup $(TOOLS)/bin/cargo-fuzz ## Feed every parser and decision anything, for long: SECONDS=300 each, TARGETS="review frame"
	@for target in $(or $(TARGETS),$(notdir $(wildcard fuzz/seeds/*))); do \
	  echo "fuzzing $$target"; \
	  mkdir -p fuzz/libfuzzer/corpus/$$target; \
	  env -u CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER -u CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER \
	    RUSTC_BOOTSTRAP=1 PATH="$(TOOLS)/bin:$$PATH" CARGO_TARGET_DIR=fuzz/libfuzzer/target \
	    $(CARGO) fuzz run --fuzz-dir fuzz/libfuzzer --sanitizer none $$target \
	    fuzz/libfuzzer/corpus/$$target fuzz/seeds/$$target -- \
	    -max_total_time=$(or $(SECONDS),300) -timeout=10 -print_final_stats=1; \
	done

demo: needs-root controlplane images ## Tell the story on a real cluster; KEEP=1 leaves it running
	@$(CARGO) run --quiet --package gateherald-lab -- demo $(if $(filter-out 0,$(KEEP)),--keep)

$(TOOLS)/termtosvg-$(TERMTOSVG_VERSION)/bin/termtosvg: lab/pictures/requirements.txt
	@echo "installing termtosvg $(TERMTOSVG_VERSION) (once)"
	@python3 -m venv $(TOOLS)/termtosvg-$(TERMTOSVG_VERSION)
	@$(TOOLS)/termtosvg-$(TERMTOSVG_VERSION)/bin/pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

pictures: NEEDED_TOO := $(NEEDED_FOR_PICTURES)
pictures: needs-root controlplane images $(TOOLS)/termtosvg-$(TERMTOSVG_VERSION)/bin/termtosvg ## Draw and record docs/pictures anew, at the end of the demo
	@$(CARGO) run --quiet --package gateherald-lab -- demo --then "lab/pictures/draw $(lastword $^)"

bench: needs-root setup ## Measure with release builds and write docs/performance.md; CHAPTERS="wire load" chooses
	$(CARGO) build --release --workspace --bins
	@$(RELEASE)/gateherald-lab build
	@$(if $(filter handler,$(CHAPTERS)),$(CARGO) bench --quiet --package gateherald-webhook --bench handler | tee target/handler.md)
	@$(SUDO) $(RELEASE)/gateherald-lab bench --handler target/handler.md $(CHAPTERS)

chart: ## Write what is made from the chart: its README.md and the rendering of its defaults
	@env -u CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER -u CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER \
	  $(CARGO) run --quiet --package gateherald-lab -- chart-files

plugin: ## Build and pack the kubectl plugin for TARGET (default: this machine), into target/plugin
	.ci/plugin $(or $(TARGET),$(shell rustc -vV | sed -n 's/^host: //p'))

publish: ## Push and sign images and chart of VERSION; only the release workflow has what that needs
	.ci/publish $(VERSION) $(or $(REGISTRY),ghcr.io/gateherald)
	cat target/plugin/*.sha256 >target/plugin/checksums.txt
	awk '/^## /{found = ($$2 == "$(VERSION)"); next} found' CHANGELOG.md >target/release-notes.md

failover: needs-root controlplane ## Suffer every fault RUNS=5 times and write the gaps into docs/failover.md
	@rm -f target/failover.tsv
	@for run in $$(seq $(or $(RUNS),5)); do \
	  $(CARGO) test --quiet --workspace --test netns -- netns_failover netns_leases netns_outage; \
	done
	@env -u CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER -u CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER \
	  $(CARGO) run --quiet --package gateherald-lab -- failover-page

lint: lint-workflows ## Clippy, warnings denied; workflow files
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) clippy --workspace --test cluster -- -D warnings

$(TOOLS)/bin/actionlint-$(ACTIONLINT_VERSION):
	@echo "building actionlint $(ACTIONLINT_VERSION) (once)"
	@GOBIN=$(TOOLS)/bin GOFLAGS= go install github.com/rhysd/actionlint/cmd/actionlint@$(ACTIONLINT_VERSION)
	@mv $(TOOLS)/bin/actionlint $@

lint-workflows: $(TOOLS)/bin/actionlint-$(ACTIONLINT_VERSION) ## Check .github/workflows
	@$< -shellcheck= -pyflakes=

fmt: ## Format the source
	$(CARGO) fmt --all

fmt-check: ## Fail when the source is not formatted
	$(CARGO) fmt --all --check

deny: $(TOOLS)/bin/cargo-deny ## Check licences, banned crates and sources
	PATH="$(TOOLS)/bin:$$PATH" $(CARGO) deny --log-level error check bans licenses sources
	PATH="$(TOOLS)/bin:$$PATH" $(CARGO) deny --log-level error --manifest-path fuzz/libfuzzer/Cargo.toml check bans licenses sources

advisories: $(TOOLS)/bin/cargo-deny ## Check known vulnerabilities (fetches their database)
	PATH="$(TOOLS)/bin:$$PATH" $(CARGO) deny --log-level error check advisories

clean: ## Remove what was built here (the cache of control planes stays)
	$(CARGO) clean

.PHONY: needs-root
needs-root:
	@[ "$$(id -u)" = 0 ] || sudo -n true 2>/dev/null || { \
	  echo "This needs root (or sudo without a password): it makes network namespaces and packet sockets."; \
	  echo "Nothing outside those namespaces is touched."; exit 1; }
