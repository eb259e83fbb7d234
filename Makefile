# One line per target; CI calls the same targets a person does. `make help` lists them.
.PHONY: help run build test check lint unit race sim soak clients fuzz bench generate fresh tools nightly clean
SHELL := /bin/bash
GO ?= go
STATICCHECK := $(GO) run -modfile tools/go.mod honnef.co/go/tools/cmd/staticcheck

help:     ## this list
	@grep -hE '^[a-z]+: .*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

run:      ## build, then start one node with a store in ./data on loopback
	@scripts/build
	@exec bin/kith serve

build:    ## build bin/kith
	@scripts/build

test:     ## everything that CI runs; installs node, npm, chromium through apt when it is root
	@scripts/test

check: lint fresh ## what needs no running server: format, vet, staticcheck, generated code

lint:     ## gofmt, vet, staticcheck
	@scripts/lint

unit:     ## all Go tests of this module
	$(GO) test ./...

race:     ## the same under the race detector
	$(GO) test -race ./...

sim:      ## crash simulation for two minutes; SEEDS=n or FOR=10m for more
	$(GO) test ./actors/feature -run 'TestCrash$$|TestPlanted' -count 1 -timeout 0 -for $(or $(FOR),2m) -v

soak:     ## a simulated town over four months, with a steady load; PERDAY=n calls a day
	$(GO) test ./actors/feature -run 'TestSoak$$' -count 1 -timeout 0 -perday $(or $(PERDAY),1000) -v

nightly:  ## crash simulation for hours
	$(MAKE) sim FOR=8h

clients:  ## real clients against the built binary
	@scripts/clients

fuzz:     ## every fuzz target for 30 s each; FUZZTIME=10m for more
	@scripts/fuzz $(or $(FUZZTIME),30s)

bench:    ## where each microsecond of a message goes
	$(GO) test ./bench -run '^$$' -bench . -benchmem -benchtime 400000x
	@scripts/build
	bin/kith load direct --spawn --inflight 8
	bin/kith load direct --spawn --inflight 1 --echo
	$(GO) test ./gateway/... ./actors/... ./storage -run '^$$' -bench . -benchmem

generate: ## generated code, from the .proto files
	cd tools && $(GO) run ./generate -root ..

fresh:    ## fail if generated code is not fresh
	cd tools && $(GO) run ./generate -root .. -check

clean:    ## what was built
	rm -rf bin test/clients/node_modules
