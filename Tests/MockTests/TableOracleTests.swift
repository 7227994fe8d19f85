import Hardware
import IOMMUCore
import TestSupport
import Testing

@testable import Mock

/// What a mock table should hold, kept as plainly as possible: one record per 2 KiB.
struct TableOracle {
  struct Granule: Equatable {
    var physical: UInt64
    var access: Access
    var leafStart: UInt64
    var leafBytes: UInt64
  }

  let sizes: UInt64
  var granules: [UInt64: Granule] = [:]
  var mappings: [(iova: UInt64, byteCount: UInt64)] = []
  /// First addresses of leaves that were written to.
  var dirty: Set<UInt64> = []

  func overlaps(_ iova: UInt64, _ byteCount: UInt64) -> Bool {
    stride(from: iova, to: iova + byteCount, by: 2048).contains { granules[$0] != nil }
  }

  mutating func map(_ iova: UInt64, _ physical: UInt64, _ byteCount: UInt64, _ access: Access) {
    mappings.append((iova, byteCount))
    var start = iova
    for size in naiveSizes(iova, physical, byteCount, sizes: sizes) {
      for address in stride(from: start, to: start + size, by: 2048) {
        granules[address] = Granule(
          physical: physical + (address - iova), access: access, leafStart: start, leafBytes: size)
      }
      start += size
    }
  }

  mutating func unmap(_ iova: UInt64, _ byteCount: UInt64) {
    mappings.removeAll { $0.iova >= iova && $0.iova < iova + byteCount }
    for address in stride(from: iova, to: iova + byteCount, by: 2048) {
      granules[address] = nil
      dirty.remove(address)
    }
  }
}

@Suite("Mock table against a dictionary")
struct TableOracleTests {
  /// A space in which ranges meet often: the end of one table of level 1 and the start of the next.
  static let space: ClosedRange<UInt64> = 0x1fe0_0000...0x2040_0000

  func range(using random: inout SeededRandom) -> (iova: UInt64, byteCount: UInt64) {
    let iova = UInt64.random(in: Self.space, using: &random) & ~2047
    let scale = UInt64(1) << UInt64.random(in: 11...21, using: &random)
    let byteCount = UInt64.random(in: 1...scale, using: &random)
    return (iova, (byteCount + 2047) & ~2047)
  }

  @Test("maps, unmaps and writes agree with it", arguments: 0..<16 as Range<UInt64>)
  func agree(seed: UInt64) throws {
    var random = SeededRandom(seed: seed)
    let domain = try Bench().domain(dirty: true)
    var oracle = TableOracle(sizes: domain.pageSizes)
    for step in 0..<300 {
      let place = Comment("seed \(seed), step \(step)")
      switch Int.random(in: 0..<8, using: &random) {
      case 0...2:
        let (iova, byteCount) = range(using: &random)
        var physical = UInt64.random(in: 0..<1 << 45, using: &random) & ~2047
        if Bool.random(using: &random) { physical = physical & ~0x1f_ffff | iova & 0x1f_ffff }
        let access = Access(rawValue: UInt8.random(in: 1...3, using: &random))
        let isRefused = oracle.overlaps(iova, byteCount)
        #expect(
          refusal { try domain.map(iova, physical, byteCount, access) }
            == (isRefused ? .addressInUse : nil), place)
        if !isRefused { oracle.map(iova, physical, byteCount, access) }
      case 3:
        guard let mapping = oracle.mappings.randomElement(using: &random) else { continue }
        domain.unmap(mapping.iova, mapping.byteCount)
        oracle.unmap(mapping.iova, mapping.byteCount)
      case 4 where step % 10 == 0:
        // From the start of one mapping to the end of another: several, with the holes between
        // them.
        guard let first = oracle.mappings.randomElement(using: &random),
          let last = oracle.mappings.randomElement(using: &random), last.iova >= first.iova
        else { continue }
        let byteCount = last.iova + last.byteCount - first.iova
        domain.unmap(first.iova, byteCount)
        oracle.unmap(first.iova, byteCount)
      case 5:
        for _ in 0..<20 {
          let address = UInt64.random(in: Self.space, using: &random)
          domain.setDirty(IOVirtualAddress(address))
          if let granule = oracle.granules[address & ~2047] {
            oracle.dirty.insert(granule.leafStart)
          }
        }
      case 6:
        let (iova, byteCount) = range(using: &random)
        let clear = Bool.random(using: &random)
        let met = stride(from: iova, to: iova + byteCount, by: 2048).compactMap {
          oracle.granules[$0]
        }
        let expected = Set(met.map(\.leafStart)).intersection(oracle.dirty)
        let read = try domain.dirtyLeaves(iova, byteCount, clear: clear)
        try #require(read.map(\.lowerBound) == expected.sorted(), place)
        for leaf in read {
          let leafBytes = oracle.granules[leaf.lowerBound]?.leafBytes
          try #require(leaf.upperBound - leaf.lowerBound + 1 == leafBytes, place)
        }
        if clear { oracle.dirty.subtract(expected) }
      default:
        for _ in 0..<50 {
          let address = UInt64.random(in: Self.space, using: &random)
          let granule = oracle.granules[address & ~2047]
          try #require(
            domain.physical(address) == granule.map { $0.physical + address % 2048 }, place)
          try #require(domain.leaf(at: IOVirtualAddress(address))?.access == granule?.access, place)
        }
      }
    }
    for address in stride(from: Self.space.lowerBound, to: Self.space.upperBound, by: 2048) {
      try #require(
        domain.physical(address) == oracle.granules[address]?.physical, "seed \(seed), at the end")
    }
  }
}

@Suite("Mock dirty tracking")
struct DirtyTests {
  @Test(
    "a write marks its whole leaf, once, until it is cleared",
    arguments: [2048, 4096, 1 << 20, 1 << 24] as [UInt64])
  func wholeLeaf(byteCount: UInt64) throws {
    let domain = try Bench().domain(dirty: true)
    let iova: UInt64 = 0x4000_0000
    try domain.map(iova, 0x1_0000_0000, byteCount)
    let leaf = [iova...iova + byteCount - 1]
    #expect(try domain.dirtyLeaves(iova, byteCount, clear: true).isEmpty)
    domain.setDirty(IOVirtualAddress(iova + byteCount - 1))
    #expect(try domain.dirtyLeaves(iova, byteCount, clear: false) == leaf)
    #expect(try domain.dirtyLeaves(iova, 1, clear: true) == leaf)
    #expect(try domain.dirtyLeaves(iova, byteCount, clear: false).isEmpty)
    #expect(domain.physical(iova + 5) == 0x1_0000_0005)
  }

  @Test("a write to an unmapped address is nothing")
  func unmapped() throws {
    let domain = try Bench().domain(dirty: true)
    try domain.map(0x4000_0000, 0x1000, 4096)
    for address: UInt64 in [0, 0x4000_1000, 1 << 38, .max] {
      domain.setDirty(IOVirtualAddress(address))
    }
    #expect(try domain.dirtyLeaves(0, 1 << 38, clear: false).isEmpty)
  }

  @Test("ranges that the table does not translate are refused")
  func outside() throws {
    let domain = try Bench().domain(dirty: true)
    #expect(refusal { _ = try domain.dirtyLeaves(0, 0, clear: false) } == .invalid)
    #expect(refusal { _ = try domain.dirtyLeaves(4096, 1 << 38, clear: false) } == .outOfRange)
    #expect(refusal { _ = try domain.dirtyLeaves(.max, 2, clear: false) } == .outOfRange)
  }

  @Test("only a domain made for it tracks")
  func options() throws {
    let plain = try Bench().domain()
    #expect(refusal { try plain.setDirtyTracking(true) } == .notSupported)
    #expect(refusal { _ = try plain.dirtyLeaves(0, 4096, clear: false) } == .notSupported)
    let tracking = try Bench().domain(dirty: true)
    #expect(!tracking.isTrackingDirty)
    try tracking.setDirtyTracking(true)
    #expect(tracking.isTrackingDirty)
    try tracking.setDirtyTracking(false)
    #expect(!tracking.isTrackingDirty)
  }
}
