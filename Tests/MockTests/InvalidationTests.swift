import Hardware
import IOMMUCore
import Testing

@testable import Mock

@Suite("Mock invalidation of a nested domain")
struct DomainInvalidationTests {
  struct Outcome: Equatable {
    var done: UInt32
    var kind: DriverError.Kind?
    var words: [UInt32]
  }

  func invalidate(
    _ words: [UInt32], count: UInt32, entryBytes: UInt32 = 8, type: UInt32 = 0xdead_beef
  ) throws -> Outcome {
    let nested = try Bench().nested(iotlb: 5)
    let result = nested.invalidate(
      FakeMemory(words).array(type: type, entryBytes: entryBytes, entryCount: count))
    return Outcome(
      done: result.done, kind: result.error?.kind,
      words: nested.iotlb.indices.map { nested.iotlb[$0] })
  }

  @Test("the type is checked even without entries")
  func type() throws {
    #expect(try invalidate([], count: 0) == Outcome(done: 0, kind: nil, words: [5, 5, 5, 5]))
    #expect(try invalidate([], count: 0, type: 0xdad_beef).kind == .invalid)
    #expect(try invalidate([0, 0], count: 1, type: 0xdad_beef).kind == .invalid)
  }

  @Test("one word, then all of them")
  func words() throws {
    #expect(
      try invalidate([0, 1, 0, 3], count: 2) == Outcome(done: 2, kind: nil, words: [5, 0, 5, 0]))
    #expect(try invalidate([1, 2], count: 1) == Outcome(done: 1, kind: nil, words: [0, 0, 0, 0]))
  }

  @Test("entries before a bad one take effect")
  func progress() throws {
    let done = Outcome(done: 1, kind: .invalid, words: [0, 5, 5, 5])
    #expect(try invalidate([0, 0, 0, 4, 0, 1], count: 3) == done)
    // The flag for all does not excuse a word that does not exist.
    #expect(try invalidate([0, 0, 1, 4], count: 2) == done)
    #expect(
      try invalidate([0, 0, 2, 1], count: 2)
        == Outcome(done: 1, kind: .notSupported, words: [0, 5, 5, 5]))
    #expect(
      try invalidate([0, 0], count: 2)
        == Outcome(done: 1, kind: .badAddress, words: [0, 5, 5, 5]))
  }

  @Test("entries of another length", arguments: [4, 12] as [UInt32])
  func length(entryBytes: UInt32) throws {
    #expect(try invalidate([0, 0, 0], count: 1, entryBytes: entryBytes).kind == .invalid)
  }
}

@Suite("Mock invalidation of a virtual IOMMU")
struct DeviceInvalidationTests {
  struct Outcome: Equatable {
    var done: UInt32
    var kind: DriverError.Kind?
    var words: [UInt32]
  }

  func invalidate(
    _ words: [UInt32], count: UInt32, entryBytes: UInt32 = 12, type: UInt32 = 0xdead_beef,
    failing: UInt32 = 0
  ) throws -> Outcome {
    let bench = try Bench()
    let host = FakeHost()
    host.devices[0x99] = bench.device
    let virtualIOMMU = try bench.virtualIOMMU(host: host)
    bench.device.cache = MockCache(repeating: 5)
    bench.failures.remaining = failing
    let result = virtualIOMMU.invalidate(
      FakeMemory(words).array(type: type, entryBytes: entryBytes, entryCount: count))
    return Outcome(
      done: result.done, kind: result.error?.kind,
      words: bench.device.cache.indices.map { bench.device.cache[$0] })
  }

  @Test("no entries ask whether the type is right")
  func type() throws {
    #expect(try invalidate([], count: 0) == Outcome(done: 0, kind: nil, words: [5, 5, 5, 5]))
    #expect(try invalidate([], count: 0, failing: 1).kind == nil)
    // Nothing is allocated for nothing.
    #expect(try invalidate([], count: 0, type: 0xdad_beef, failing: 1).kind == .invalid)
    #expect(try invalidate([], count: 0, type: 0xdad_beef).kind == .invalid)
    #expect(try invalidate([0, 0x99, 0], count: 1, type: 0xdad_beef).kind == .invalid)
  }

  @Test("one word, then all of them")
  func words() throws {
    #expect(
      try invalidate([0, 0x99, 1, 0, 0x99, 3], count: 2)
        == Outcome(done: 2, kind: nil, words: [5, 0, 5, 0]))
    #expect(
      try invalidate([1, 0x99, 0], count: 1) == Outcome(done: 1, kind: nil, words: [0, 0, 0, 0]))
  }

  @Test("entries before a bad one take effect, unless the array cannot be read")
  func progress() throws {
    let good: [UInt32] = [0, 0x99, 0]
    #expect(
      try invalidate(good + [0, 0x99, 4], count: 2)
        == Outcome(done: 1, kind: .invalid, words: [0, 5, 5, 5]))
    #expect(
      try invalidate(good + [2, 0x98, 4], count: 2)
        == Outcome(done: 1, kind: .notSupported, words: [0, 5, 5, 5]))
    #expect(
      try invalidate(good + [1, 0x98, 0], count: 2)
        == Outcome(done: 1, kind: .invalid, words: [0, 5, 5, 5]))
    #expect(
      try invalidate(good, count: 2) == Outcome(done: 0, kind: .badAddress, words: [5, 5, 5, 5]))
  }

  @Test("longer entries must end in zeros, shorter ones are filled up")
  func length() throws {
    #expect(
      try invalidate([0, 0x99, 2, 0], count: 1, entryBytes: 16)
        == Outcome(done: 1, kind: nil, words: [5, 5, 0, 5]))
    #expect(try invalidate([0, 0x99, 2, 1], count: 1, entryBytes: 16).kind == .tooBig)
    #expect(
      try invalidate([0, 0x99], count: 1, entryBytes: 8)
        == Outcome(done: 1, kind: nil, words: [0, 5, 5, 5]))
  }

  @Test("without memory nothing happens, and the count stays the client's")
  func memory() throws {
    #expect(
      try invalidate([0, 0x99, 0], count: 1, failing: 1)
        == Outcome(done: 1, kind: .outOfMemory, words: [5, 5, 5, 5]))
  }
}
