// swift-tools-version: 6.2
import PackageDescription

let strict: [SwiftSetting] = [
  .treatAllWarnings(as: .error),
  .strictMemorySafety(),
  .enableUpcomingFeature("MemberImportVisibility"),
  .enableUpcomingFeature("ExistentialAny"),
]

/// The machine's modules are checked for exclusive access in debug builds, which all tests use;
/// release builds do not pay for it: a quarter of a small map call (Docs/Decisions/0007).
let machine: [SwiftSetting] =
  strict + [
    .unsafeFlags(["-enforce-exclusivity=unchecked"], .when(configuration: .release))
  ]

/// A library and its imports. Read top to bottom, this list is the layering of the project.
func layer(_ name: String, imports: [Target.Dependency] = []) -> Target {
  .target(name: name, dependencies: imports, swiftSettings: machine)
}

func tests(_ name: String, of imports: [Target.Dependency]) -> Target {
  .testTarget(name: name, dependencies: imports + ["TestSupport"], swiftSettings: strict)
}

let package = Package(
  name: "viaduct",
  products: [
    .executable(name: "viaduct", targets: ["viaduct"]),
    // For Benchmarks/, which is a package of its own.
    .library(name: "ViaductMachine", targets: ["Machine", "IOMMUFD", "Clients", "CKernelABI"]),
    // A shared object under its own file name: see Docs/Decisions/0001.
    .executable(name: "libviaduct.so", targets: ["CShim"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
  ],
  targets: [
    // C: the kernel's structures, the channel between shim and host, the shim, and the host's syscalls.
    .target(name: "CKernelABI"),
    .target(name: "CChannel"),
    .executableTarget(
      name: "CShim", dependencies: ["CChannel"], exclude: ["exports.map"],
      cSettings: [
        .define("_GNU_SOURCE"),
        .unsafeFlags(["-Wall", "-Wextra", "-Werror", "-fvisibility=hidden"]),
      ],
      linkerSettings: [
        .unsafeFlags([
          "-emit-library", "-nostartfiles", "-no-toolchain-stdlib-rpath",
          "-Xlinker", "-soname=libviaduct.so",
          "-Xlinker", "--version-script=\(Context.packageDirectory)/Sources/CShim/exports.map",
        ])
      ]),
    .target(name: "CHost", dependencies: ["CChannel"]),

    // The machine, from its vocabulary upwards.
    layer("Hardware"),
    layer("IOMMUCore", imports: ["Hardware"]),
    layer("Clients", imports: ["Hardware"]),
    layer("Trace", imports: ["CKernelABI", "Clients"]),
    layer("Mock", imports: ["Hardware", "IOMMUCore"]),
    layer("IOMMUFD", imports: ["CKernelABI", "Clients", "Hardware", "IOMMUCore"]),
    layer(
      "MockCommands",
      imports: ["CKernelABI", "Clients", "Hardware", "IOMMUCore", "IOMMUFD", "Mock"]),
    layer(
      "Machine",
      imports: ["Clients", "Hardware", "IOMMUCore", "IOMMUFD", "Mock", "MockCommands"]),

    // The text that stands for a machine. Apart, so that who has no text needs no YAML.
    layer("Descriptions", imports: ["Machine", .product(name: "Yams", package: "Yams")]),

    // The only part with threads, locks and the operating system.
    .target(
      name: "Server", dependencies: ["CChannel", "CHost", "Clients", "Hardware"],
      swiftSettings: strict),
    .executableTarget(
      name: "viaduct",
      dependencies: [
        "CHost", "Clients", "Descriptions", "Machine", "Server", "Trace",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ], swiftSettings: strict),

    tests("DescriptionsTests", of: ["Descriptions", "Machine"]),
    tests("IOMMUFDTests", of: ["CKernelABI", "Clients", "Hardware", "IOMMUCore", "IOMMUFD"]),
    tests("MachineTests", of: ["CKernelABI", "Clients", "Hardware", "IOMMUFD", "Machine"]),
    tests("MockTests", of: ["Mock", "IOMMUCore", "Hardware"]),
    tests("ServerTests", of: ["CChannel", "CTestClient", "Clients", "Hardware", "Server"]),
    tests("TraceTests", of: ["Trace", "Clients"]),
    // A client that shows the machine at work, for `make demo` and the README.
    .executableTarget(
      name: "hello-iommu", dependencies: ["CKernelABI"], path: "Examples/hello-iommu"),

    // What the library does on the wire, without the library.
    .target(name: "CTestClient", dependencies: ["CChannel"], path: "Tests/CTestClient"),
    .target(
      name: "TestSupport", dependencies: ["Clients", "Hardware"], path: "Tests/TestSupport",
      swiftSettings: strict),
  ]
)
