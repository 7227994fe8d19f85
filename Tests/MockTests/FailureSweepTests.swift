import Hardware
import IOMMUCore
import Testing

@testable import Mock

/// Makes step 1, 2, 3… of an operation fail until it succeeds; each failure must change nothing.
@Suite("Mock failure sweep")
struct FailureSweepTests {
  /// Returns how many steps failed before the operation succeeded.
  func sweep(
    _ failures: FailurePlan, unchanged: @autoclosure () -> Bool = true,
    _ operation: () throws -> Void
  ) throws -> UInt32 {
    for step: UInt32 in 1...100 {
      failures.remaining = step
      let kind = refusal(operation)
      let isUnused = failures.remaining > 0
      failures.remaining = 0
      guard let kind else {
        #expect(isUnused, "step \(step) failed and nobody noticed")
        return step - 1
      }
      try #require(kind == .outOfMemory && !isUnused, "step \(step)")
      try #require(unchanged(), "step \(step)")
    }
    throw DriverError(.invalid, because: "the operation never succeeds")
  }

  @Test("a failing map unmaps what it did")
  func map() throws {
    let bench = try Bench()
    let domain = try bench.domain()
    try domain.map(0x1ff0_0000, 0x9000, 4096)
    try domain.map(0x2010_0000, 0x9000, 4096)
    domain.unmap(0x2010_0000, 4096)
    let before = leaves(of: domain, 0, 1 << 30)
    // A mapping in pages across three tables of level 0 and two of level 1, one present.
    let count = try sweep(
      bench.failures,
      unchanged: leaves(of: domain, 0, 1 << 30) == before
    ) {
      try domain.map(0x1ff8_0000, 0x1000, 0x20_0000)
    }
    #expect(count == 1)
    #expect(domain.physical(0x2017_ffff) == 0x20_0fff)
  }

  @Test("a failing map into an empty table leaves no leaf")
  func mapIntoEmptyTable() throws {
    let bench = try Bench()
    let domain = try bench.domain()
    let count = try sweep(
      bench.failures,
      unchanged: leaves(of: domain, 0x1ff0_0000, 0x20_0000).isEmpty
    ) {
      try domain.map(0x1ff8_0000, 0x1000, 0x10_0000)
    }
    // Two attempts for the first two tables; the third makes those, and the fourth needs only one
    // more.
    #expect(count == 3)
  }

  @Test("a device is made in five steps")
  func device() throws {
    let bench = try Bench()
    let count = try sweep(
      bench.failures,
      unchanged: bench.unit.deviceCount == 1
    ) {
      _ = try bench.unit.makeDevice(flags: [])
    }
    #expect(count == 5)
    #expect(bench.unit.deviceCount == 2)
  }

  @Test("domains, information and virtual IOMMUs")
  func objects() throws {
    let bench = try Bench()
    let paging = try sweep(bench.failures) {
      _ = try bench.domain()
    }
    #expect(paging == 2)
    let information = try sweep(bench.failures) {
      _ = try bench.device.hardwareInfo(type: 0)
    }
    #expect(information == 1)
    let parent = try bench.domain()
    let data = FakeMemory([7]).data(type: 0xdead)
    let nested = try sweep(bench.failures) {
      _ = try bench.device.allocateNestedDomain(on: parent, [], data)
    }
    #expect(nested == 1)
    let host = FakeHost()
    let answer = FakeMemory([1, 2, 3, 4, 5, 6])
    let virtual = try sweep(
      bench.failures,
      unchanged: host.mappings.isEmpty && answer.word(1) == 2
    ) {
      _ = try bench.virtualIOMMU(answer.data(type: 0xdead_beef), parent: parent, host: host)
    }
    #expect(virtual == 1)
  }

  @Test("an attachment that wants page requests")
  func attach() throws {
    let bench = try Bench()
    let plain = try bench.domain()
    try bench.device.setDomain(plain, pasid: nil, replacing: nil)
    let reporting = try bench.domain()
    reporting.pageRequestHandler = IgnoringHandler()
    let count = try sweep(
      bench.failures,
      unchanged: bench.device.domain === plain && bench.device.pageRequestUsers == 0
    ) {
      try bench.device.setDomain(reporting, pasid: nil, replacing: plain)
    }
    #expect(count == 1)
    #expect(bench.device.pageRequestUsers == 1)
  }
}
