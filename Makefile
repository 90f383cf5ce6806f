# k3s-ha: `make help` lists what can be done.
SHELL := /bin/sh
.DEFAULT_GOAL := help
export OFFICIAL
# What runs on hosts, and its formatter; `make shfmt` rewrites.
HOST_SCRIPTS = $$(git ls-files -co --exclude-standard 'components/*.sh' 'commands/*.sh')
SHFMT = go run mvdan.cc/sh/v3/cmd/shfmt@v3.14.1 -i 4 -ci

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

node_modules: package.json package-lock.json
	npm ci --no-audit --no-fund
	@touch node_modules

.PHONY: deps
deps: node_modules

.PHONY: lab
lab: deps ## five hosts and one cluster on them, then a summary (OFFICIAL=1: with official pulumi and k3s, needs internet)
	LAB_OFFICIAL=$(OFFICIAL) lab/lab setup
	lab/lab hosts up
	lab/lab exec -- sh -c 'pulumi stack select --create "$$LAB_STACK" && pulumi up --yes --stack "$$LAB_STACK"'
	lab/lab status

.PHONY: lab-down
lab-down: ## removes every trace of the lab
	lab/lab down

.PHONY: check
check: deps ## lint, format, types, generated files, prose, shellcheck: fast
	npx eslint . --max-warnings 0
	npx prettier --check --log-level warn .
	npx tsc --noEmit
	npm run --silent settings -- --check
	npm run --silent prose
	shellcheck $$(git ls-files -co --exclude-standard '*.sh' lab/lab .ci/run)
	$(SHFMT) -d $(HOST_SCRIPTS)
	! LC_ALL=C.UTF-8 grep -nE '^.{121}' $(HOST_SCRIPTS)
	test -z "$$(gofmt -l lab)"

.PHONY: shfmt
shfmt: ## formats the scripts that run on hosts
	$(SHFMT) -w $(HOST_SCRIPTS)

.PHONY: test
test: deps ## everything: check, unit, integration, the lab's own tests, cluster (sets up a lab of its own and removes it)
	LAB_OFFICIAL=$(OFFICIAL) node tests/run.mjs

.PHONY: unit
unit: deps ## unit tests only: no hosts, no root
	npx mocha 'tests/unit/**/*.test.ts'

.PHONY: test-cluster
test-cluster: deps ## the cluster scenarios only; ONLY=upgrade: runs one (a regular expression over the titles): grow: shrink: lost: config: readiness: rotation: majority: destroy: …
	node tests/run.mjs setup cluster

.PHONY: test-long
test-long: deps ## scenarios that make test has no time for; ONLY= as above: bucket: drill: load: …
	node tests/run.mjs setup long browser trixie bullseye

.PHONY: drill
drill: deps ## fail-over measured in the lab: masters stopped, killed, frozen, cut off, beside two baselines; prints a table
	ONLY=drill: node tests/run.mjs setup long

.PHONY: status
status: node_modules ## how the cluster of a stack is, node by node; STACK=name, ARGS=--watch or --json
	@npm run --silent status -- --stack "$(STACK)" $(ARGS)

.PHONY: review
review: node_modules ## what a change of a stack file does, as Markdown for a pull request; STACK=name, ARGS="--from FILE"
	@npm run --silent review -- --stack "$(STACK)" $(ARGS)

.PHONY: drift
drift: node_modules ## what differs on the hosts of a stack from what its steps left; STACK=name, ARGS=--mark
	npm run --silent drift -- --stack "$(STACK)" $(ARGS)

.PHONY: bench
bench: deps ## time, memory, state of stacks of 5 to 500 nodes without hosts, beside the engine's own share; then 3 + 2 and 3 + 12 lab hosts
	node --require ./load/register.cjs tests/bench/main.ts
	node --require ./load/register.cjs tests/bench/lab.ts
