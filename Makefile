# make help lists what there is. Nothing here is needed to use the library.

STATICCHECK ?= $$(go tool -n staticcheck)
# How lint and the tests compile, alike, or all is compiled twice. A debugger's tables are a third of the compiler's work.
COMPILE     := -race -gcflags=all=-dwarf=false
# make lint vets, once and in full: go test would vet a part of it again. Nor do the tests' programs need a debugger's tables.
TESTFLAGS   ?= $(COMPILE) -ldflags=-w -vet=off -timeout 10m
# How many packages run side by side, and how many tests of one, of those that may. Most of them wait, for a clock
# or for Redis to be given up: twice as many packages as there are processors keep these busy.
SIDEBYSIDE  ?= -p $(shell expr 2 '*' $$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)) -parallel 4
# A program with the race detector sleeps for a second when it ends, for races of what still runs. Each test binary did.
export GORACE ?= atexit_sleep_ms=50
FUZZTIME    ?= 30s
SOAKTIME    ?= 10m
# They begin first, or the last of them would run alone at the end.
SLOWEST     := ./tests/redisfaults ./tests/cost ./tests/signout ./tests/topologies ./tests/records ./tests/gate
# The end-to-end tests: the packages whose tests take -topology (tests/harness).
END_TO_END  := ./tests/...
TOPOLOGIES  ?= standalone resp2 tls client-certificates acl rotating-password restricted sentinel cluster acl-cluster

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z][a-z-]*\):.*## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | while IFS="$$(printf '\t')" read -r name text; do \
		printf '  make %-14s %s\n' "$$name" "$$text"; done

.PHONY: test
test: lint ## install what the tests need, then gofmt, vet, staticcheck and go test -race
	go test $(TESTFLAGS) $(SIDEBYSIDE) $(SLOWEST) work
	@echo "make test-long runs also: $$(grep -rhoE '^func TestLong[A-Za-z0-9]+' --include=*_test.go . | cut -d' ' -f2 | sort | tr '\n' ' ')"

# Only the packages that have one are built, and of them only these tests run; one package after the other, for some
# load both processors. LONG narrows it to some, by their names.
LONG ?= TestLong
.PHONY: test-long
test-long: deps ## the tests that take long (internal/long), which make test leaves out; LONG=... some of them
	MSALREDIS_LONG=1 go test $(TESTFLAGS) -p 1 -v -run '^($(LONG))' \
		$$(grep -rlE '^func ($(LONG))' --include=*_test.go . | xargs -n1 dirname | sort -u)

FAULTTIME   ?= 60s

# The first seed is always the same, so that a change of the library is what makes a difference; the second is another one
# each time, and printed. What failed is made again with the command that a failed run ends with.
.PHONY: faultrun
faultrun: deps ## a fleet under faults for FAULTTIME (60s), with a fixed and with a random seed
	go run ./bench/faultrun --duration $(FAULTTIME) --seed 7
	go run ./bench/faultrun --duration $(FAULTTIME) --topology cluster --clocks=false

# Vet and staticcheck read what the compiler made of each package. With -race that is what the tests need as well; without it all
# would be compiled twice. Staticcheck itself is built without. No file of this module depends on the race detector's tag.
# "work" is all packages of all modules of go.work.
# A line may be longer than 120 columns if it has no space to break at, such as an address.
.PHONY: lint
lint: deps ## gofmt, no line over 120 columns, vet and staticcheck
	@files=$$(gofmt -l .); if [ -n "$$files" ]; then echo "gofmt would change:"; echo "$$files"; exit 1; fi
	@long=$$(find * -name '*.go' | xargs awk 'length > 120 && /[^ \t\/].* / { print FILENAME ":" FNR }'); \
	if [ -n "$$long" ]; then echo "longer than 120 columns:"; echo "$$long"; exit 1; fi
	go vet $(COMPILE) work
	@tool=$(STATICCHECK) && echo "staticcheck" && GOFLAGS="$$(go env GOFLAGS) $(COMPILE)" "$$tool" work

# What is released beside the library has no replace, which go run ...@latest refuses. Until the library's first release it
# is tidied with one.
LIBRARY := github.com/msal-redis/msal-redis-go
BESIDE  := cmd/msalredis msalredisotel
.PHONY: tidy
tidy: ## go mod tidy in every module
	@set -e; export GOWORK=off; root=$$PWD; go mod tidy; \
	for m in $(BESIDE); do ( \
		cd $$m; trap 'go mod edit -dropreplace $(LIBRARY)' EXIT; go mod edit -replace $(LIBRARY)="$$root"; go mod tidy \
	); done; \
	for m in bench examples tests; do (cd $$m && go mod tidy); done

.PHONY: require-release
require-release: ## let the command and msalredisotel require the library's released VERSION
	@set -e; export GOWORK=off; for m in $(BESIDE); do (cd $$m; set -x; \
		go mod edit -droprequire $(LIBRARY); go get $(LIBRARY)@$(VERSION); go mod tidy); done; \
	for m in bench examples tests; do (cd $$m && go mod tidy); done

.PHONY: demo
demo: ## the main demonstration; needs Go only
	go run ./examples/fleet

.PHONY: bench
bench: deps ## compare with what one would otherwise do, on a real Redis, into bench/results
	go test -run '^$$' -bench . -benchmem -timeout 60m ./bench -results results

# Go fuzzes one function at a time. What it finds is kept in testdata/fuzz of the package, and is a seed from then on.
.PHONY: fuzz
fuzz: ## fuzz each fuzz test for FUZZTIME (30s)
	@set -e; for pkg in $$(go list work); do \
		for f in $$(go test -list '^Fuzz' "$$pkg" | grep '^Fuzz' || true); do \
			echo "$$pkg $$f"; go test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) "$$pkg"; \
		done; \
	done

.PHONY: observe
observe: ## evaluate the alerts and the dashboard with a real Prometheus (Debian: prometheus)
	MSALREDIS_REQUIRE_PROMETHEUS=1 go test -race -count=1 -run TestPrometheus -v ./tests/dashboards

.PHONY: soak
soak: deps ## 10,000 users for SOAKTIME (10m): memory, goroutines, connections and files must stay flat; into docs
	MSALREDIS_LONG=1 go test -v -count 1 -timeout 0 -run '^TestLongSoak$$' ./bench/soak -duration $(SOAKTIME) -users 10000 -out ../../docs

.PHONY: capacity
capacity: ## reckon what 10 to 10,000 instances ask of Redis: docs/capacity.md, with its picture
	go run ./bench/capacity --results docs

.PHONY: matrix
matrix: deps ## run the end-to-end tests against Redis 6.0, Redis 8 and Valkey 8 of other Debian suites (half an hour)
	@internal/redistest/matrix.sh

.PHONY: topologies
topologies: deps ## run the end-to-end tests on every shape of Redis: cluster, Sentinel, TLS, ... (an hour)
	@set -e; for t in $(TOPOLOGIES); do echo "topologies: $$t"; go test -race -count=1 -timeout 60m $(END_TO_END) -topology $$t; done

.PHONY: compose-check
compose-check: ## run docker-compose.yml in a Docker of its own, kill workers and Redis; needs root and docker.io
	@internal/composecheck/check.sh

# The database may be out of reach, which is no failure of this module; a vulnerability that is called is.
.PHONY: vuln
vuln: ## look for known vulnerabilities with govulncheck, where its database can be reached
	@out=$$(go run golang.org/x/vuln/cmd/govulncheck@latest work 2>&1) && status=0 || status=$$?; echo "$$out"; \
	if [ $$status -ne 0 ] && ! echo "$$out" | grep -q '^Vulnerability #'; then \
		echo "vuln: NOT CHECKED: govulncheck or its database cannot be reached from here"; exit 0; \
	fi; exit $$status

# The tests start real Redis servers and run under the race detector, which needs a C compiler. Where apt-get may be
# used (as root, or in CI with sudo that asks nothing) what is missing is installed, without starting Redis as a
# service; elsewhere this says what to install, and fails.
.PHONY: deps
deps: ## install or name what the tests need: redis-server, redis-sentinel, a C compiler; in CI chromium and prometheus too
	@command -v go >/dev/null || { echo "Go is missing: https://go.dev/dl/" >&2; exit 1; }
	@set -e; missing() { \
		command -v redis-server >/dev/null || printf ' redis-server'; \
		command -v redis-sentinel >/dev/null || printf ' redis-sentinel'; \
		command -v "$$(go env CC | cut -d' ' -f1)" >/dev/null || printf ' gcc libc6-dev'; \
		[ -z "$$CI" ] || command -v chromium >/dev/null || printf ' chromium'; \
		[ -z "$$CI" ] || command -v promtool >/dev/null || printf ' prometheus'; \
	}; \
	want=$$(missing); [ -n "$$want" ] || exit 0; \
	sudo=; may=no; \
	if command -v apt-get >/dev/null; then \
		if [ "$$(id -u)" = 0 ]; then may=yes; \
		elif [ -n "$$CI" ] && sudo -n true 2>/dev/null; then may=yes; sudo='sudo -n'; fi; \
	fi; \
	if [ "$$may" = no ]; then \
		echo "The tests need, as Debian calls them:$$want" >&2; \
		echo "  Debian, Ubuntu: sudo apt-get install$$want" >&2; \
		echo "  macOS:          brew install redis; xcode-select --install" >&2; \
		exit 1; \
	fi; \
	echo "installing$$want"; \
	policy=/usr/sbin/policy-rc.d; \
	if [ ! -e $$policy ]; then \
		trap "$$sudo rm -f $$policy" EXIT; \
		printf '#!/bin/sh\nexit 101\n' | $$sudo tee $$policy >/dev/null; $$sudo chmod 755 $$policy; \
	fi; \
	$$sudo apt-get update -qq; \
	$$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$want; \
	still=$$(missing); \
	if [ -n "$$still" ]; then echo "still missing after the installation:$$still" >&2; exit 1; fi
