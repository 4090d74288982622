# Farshore. `make` alone prints what there is.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
export CGO_ENABLED ?= 0

BINARIES := farshore farshore-control farshore-dataplane farshore-agent farshore-restore farshore-lab
# Trackers are raced by the agent's tests: their own load a kernel, and under the race detector took more than a third of its time.
RACED     = $$(go list . ./fault/... ./dataplane/... | grep -v '^farshore/dataplane/tracker/')
REST      = $$(go list ./... | grep -vE '^farshore(/fault|/dataplane/.*|/dataplane|/tests/(crash|e2e|bench|torture).*)?$$') ./dataplane/tracker/...
LDFLAGS  := -s -w
SEEDS    ?= 500
FUZZ     ?= 10m
TORTURE_ROUNDS ?= 200
TORTURE_KILLS  ?= 200
CRASH_KILLS ?= 2000
FLIPS ?= 6000
CRASH_CELLS ?= 1000
CRASH_RACES ?= 1000
CRASH_CUTS ?= 200
CRASH_OUTAGE ?= 600
SUMMARY  := awk -f $(CURDIR)/tests/summary.awk

.PHONY: help demo test test-vet test-raced test-rest test-temporal test-whole check lint fmt generate build deps clean bench bench-agent crash flips sim fuzz torture kernels rescue roundtrip homekills agent-windows

help: ## print this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' Makefile

demo: deps build ## run the whole way on this machine: replicate, test failover, failover, and home again (HOLD=1 leaves it running)
	bin/farshore-lab demo $(if $(HOLD),--hold)

test: deps build ## run every test, the later parts also when one before them failed; skips are shown and counted
	$(MAKE) -k -j1 test-vet test-raced test-rest test-temporal test-whole

test-vet:
	go vet ./...

test-raced: ## the part of the tests that runs under the race detector
	CGO_ENABLED=1 go test -race -v -timeout 60m $(RACED) 2>&1 | $(SUMMARY)

test-rest: build
	SEEDS=$(SEEDS) go test -v -timeout 60m $(REST) 2>&1 | $(SUMMARY)

test-temporal:
	cd cmd/farshore-temporal && go test -trimpath -v -timeout 30m ./... 2>&1 | $(SUMMARY)

test-whole: build ## the tests that run whole programs: tests/e2e, tests/crash, tests/torture
	go test -count=1 -v -timeout 60m ./tests/e2e/... ./tests/crash/... ./tests/torture/...

check: lint ## format, lint, shape of the tree
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); exit 1; }
	go vet ./...
	go test ./tests/arch

lint: ## golangci-lint with the house's rules
	go tool -modfile=tools/go.mod golangci-lint run ./...

fmt: ## gofumpt the tree
	go tool -modfile=tools/go.mod gofumpt -w $$(git ls-files '*.go' | grep -v '^api/gen/')

generate: ## regenerate everything that is generated: api/gen, the eBPF objects, docs/faults.md
	api/generate.sh
	go generate ./dataplane/...
	UPDATE=1 go test -count=1 ./fault

build: $(addprefix bin/,$(BINARIES)) bin/farshore-temporal ## build every program into bin/

# The go tool knows best what is stale.
$(addprefix bin/,$(BINARIES)): bin/%: FORCE
	@mkdir -p bin
	go build -trimpath -ldflags '$(LDFLAGS)' -o $@ ./cmd/$*

WINDOWS := bin/farshore-agent-windows-amd64

agent-windows: ## the agent for Windows: program, WiX source and configuration as a zip in bin/ (signing: docs/operate/windows.md)
	rm -rf $(WINDOWS) $(WINDOWS).zip
	mkdir -p $(WINDOWS)/hooks/quiesce.d $(WINDOWS)/hooks/resume.d
	GOOS=windows GOARCH=amd64 go build -trimpath -ldflags '$(LDFLAGS)' -o $(WINDOWS)/farshore-agent.exe ./cmd/farshore-agent
	cp deploy/windows/farshore-agent.wxs deploy/windows/agent.yaml docs/operate/windows.md $(WINDOWS)/
	cd bin && zip -q -X -r $(notdir $(WINDOWS)).zip $(notdir $(WINDOWS))

# The Temporal server is a module of its own: it costs some eight minutes of CPU when the cache is cold, seconds after.
bin/farshore-temporal: FORCE
	@mkdir -p bin
	cd cmd/farshore-temporal && go build -trimpath -ldflags '$(LDFLAGS)' -o ../../$@ .

FORCE:

deps: ## install what the demo and the tests need from apt (needs root), or name it
	deploy/apt/install.sh

fuzz: ## every parser, each for so much CPU time: make fuzz FUZZ=10m (ONLY=journal picks some)
	FUZZ=$(FUZZ) ONLY=$(ONLY) tests/fuzz.sh

sim: ## the pure core in a world of faults: make sim SEEDS=10000
	SEEDS=$(SEEDS) go test -count=1 -v -timeout 0 ./tests/sim/...

crash: build ## kill real processes at random moments and at system calls, long form: make crash CRASH_KILLS=2000
	CRASH=long CRASH_KILLS=$(CRASH_KILLS) CRASH_CELLS=$(CRASH_CELLS) CRASH_RACES=$(CRASH_RACES) CRASH_CUTS=$(CRASH_CUTS) CRASH_OUTAGE=$(CRASH_OUTAGE) go test -count=1 -v -timeout 0 ./tests/crash

flips: ## turn bits over in everything that is stored, one at a time: make flips FLIPS=6000 (of each object)
	FLIPS=$(FLIPS) go test -count=1 -v -timeout 0 -run 'NoFlippedBit|OfferIsBelieved' ./dataplane/... ./cmd/farshore-restore 2>&1 | awk -f tests/flips/sum.awk

torture: build ## every file system, load, grade and trouble, and the agent killed 200 times: make torture TORTURE_ROUNDS=200
	TORTURE_ROUNDS=$(TORTURE_ROUNDS) TORTURE_KILLS=$(TORTURE_KILLS) go test -count=1 -v -timeout 0 ./tests/torture

roundtrip: deps build .cache/lab/pvscsi.rom ## a guest with its agent, all the way: protected, failed over, home to vSphere, protected again; 0 blocks differ. Twice to one VM; planned
	ROUNDTRIP=1 go test -count=1 -v -timeout 90m -run 'TestAMachineThatCarriesItsAgentGoesOutAndComesHome|TestAMachineComesHomeToVSphere$$|TestAPlannedFailover' ./tests/e2e

.cache/lab/pvscsi.rom: tests/lab/qemu/pvscsi-rom.sh
	$< $@

homekills: build ## each program killed at every step of the way home
	HOMEKILLS=long go test -count=1 -v -timeout 60m -run WhoeverIsKilledAtEachStep ./tests/e2e

rescue: deps build ## a guest comes home to bare metal by a rescue image: by the desk, and three times onto the same firmware; one boot entry is left
	RESCUE=1 go test -count=1 -v -timeout 90m -run 'ComesHomeTo(Blank)?Metal|MetalOfOtherFirmware' ./tests/e2e

kernels: deps ## boot Debian's kernels in QEMU and prove the tracker on them, long form (ONLY="debian-11 debian-13" picks some)
	KERNELS=long go test -count=1 -v -timeout 0 ./tests/kernels

bench: build ## speed, as ratios measured side by side
	go test -count=1 -v -timeout 0 -run '^$$' -bench Initial ./tests/bench

bench-agent: ## what following writes costs a machine: fio and PostgreSQL with no agent and in each grade, in turn (BENCH_ROUNDS=5, BENCH_LOAD=pgbench, BENCH_DIR=/var/tmp: on that disk, not in memory)
	go test -count=1 -v -timeout 0 -run '^$$' -bench Agent -benchtime 1x ./tests/bench

clean: ## remove what was built and cached here
	rm -rf bin .cache
