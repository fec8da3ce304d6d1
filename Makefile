# Bare `make` lists what it can do. What a target does stands in build/, one script each.
.DEFAULT_GOAL := help
.PHONY: help demo build test check lint fmt fuzz bench bench-kit kafka pgo clean

help: ## list what there is to do
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: build ## build, then run a gateway on :8080 with three small upstreams; ends on Ctrl-C
	./yumen demo

build: ## build ./yumen
	CGO_ENABLED=0 go build -o yumen ./cmd/yumen

test: ## everything that must pass: format, vet, lint, architecture, unit, race, invariants, fuzz, end to end
	build/test

check: test ## what CI runs

lint: ## format, vet, staticcheck and the architecture's rules
	build/test fmt vet lint archtest

fmt: ## format the Go files
	gofmt -w $$(find . -path ./build/out -prune -o -name '*.go' -print)

fuzz: ## fuzz every parser for longer: make fuzz TIME=5m [NAME=FuzzRequest]
	build/fuzz $(or $(TIME),1m) $(NAME)

bench: build ## the side-by-side table beside nginx and HAProxy, into bench/REPORT.md: make bench [ARGS='-rounds 9']
	go run ./bench/run $(ARGS)

bench-kit: ## packages of the kit beside what others use, into bench/KIT.md: make bench-kit [ARGS='-rounds 3']
	go -C bench/kit test -count=1 -run TestReport -timeout 30m -v -report ../KIT.md $(ARGS)

kafka: ## run one Apache Kafka node on 127.0.0.1:9092 for tests, until Ctrl-C: make kafka [PORT=9092]
	build/kafka run $(PORT)

pgo: build ## renew the profile that the compiler optimises ./yumen by
	build/pgo

clean: ## remove what was built
	rm -rf yumen build/out
