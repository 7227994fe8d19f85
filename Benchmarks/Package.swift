// swift-tools-version: 6.2
import PackageDescription

/// Benchmarks are a package of their own, so that users of Viaduct never resolve what they need.
let package = Package(
  name: "benchmarks",
  dependencies: [.package(name: "viaduct", path: "..")],
  targets: [
    .executableTarget(
      name: "machine-bench",
      dependencies: [.product(name: "ViaductMachine", package: "viaduct")])
  ]
)
