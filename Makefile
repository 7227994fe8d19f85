# The commands a developer needs; `make check` comes before every commit.
SWIFT ?= swift
SOURCES = Package.swift Sources Tests

.PHONY: check format lint build test release demo conformance bench

check: lint build test

format:
	$(SWIFT) format --in-place --parallel --recursive $(SOURCES)

lint:
	$(SWIFT) format lint --strict --parallel --recursive $(SOURCES)
	Scripts/tidy
	Scripts/check-layers

build:
	$(SWIFT) build --build-tests --explicit-target-dependency-import-check error

test:
	$(SWIFT) test --quiet

release:
	$(SWIFT) build -c release --static-swift-stdlib

# An example client, unmodified, on a machine of its own.
demo: release
	.build/release/viaduct run -- .build/release/hello-iommu

conformance: release
	Conformance/build
	Conformance/run all

bench: release
	Conformance/build
	Benchmarks/run
