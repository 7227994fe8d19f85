import Hardware
import IOMMUCore
import TestSupport
import Testing

@testable import Mock

/// The leaf sizes of a mapping, recomputed plainly.
func naiveSizes(
  _ iova: UInt64, _ physical: UInt64, _ byteCount: UInt64, sizes: UInt64
) -> [UInt64] {
  var chosen: [UInt64] = []
  var done: UInt64 = 0
  while done < byteCount {
    let size = (0..<64).map { UInt64(1) << UInt64($0) }.last {
      sizes & $0 != 0 && (iova + done) % $0 == 0 && (physical + done) % $0 == 0
        && byteCount - done >= $0
    }
    guard let size else { return [] }
    chosen.append(size)
    done += size
  }
  return chosen
}

/// The leaves of a mapping, compared with a plain recomputation: at each address the largest size
/// that the domain has, both addresses are aligned to, and the rest is long enough for.
@Suite("Mock leaf choice")
struct LeafChoiceTests {
  @Test("every leaf is the largest possible", arguments: 0..<48 as Range<UInt64>)
  func largestLeaves(seed: UInt64) throws {
    var random = SeededRandom(seed: seed)
    let kind: MockTableKind = seed % 4 == 0 ? .huge : .standard
    let granule: UInt64 = kind == .huge ? 4096 : 2048
    for step in 0..<12 {
      let domain = try Bench().domain(kind)
      // Alignments and lengths of every order of magnitude, mostly aligned alike.
      let align = UInt64(1) << UInt64.random(in: 11...31, using: &random)
      let scale = UInt64(1) << UInt64.random(in: 12...(kind == .huge ? 27 : 35), using: &random)
      let byteCount = max(UInt64.random(in: 0..<scale, using: &random) & ~(granule - 1), granule)
      let iova = UInt64.random(in: 0..<1 << 37, using: &random) & ~(granule - 1)
      var physical = UInt64.random(in: 0..<1 << 46, using: &random) & ~(align - 1)
      physical += iova & (align - 1)
      physical &= ~(granule - 1)
      // Too many leaves make the recomputation slow, not more telling.
      let alike = (iova ^ physical).trailingZeroBitCount
      guard byteCount >> UInt64(min(alike, 40)) < 1 << 14, iova + byteCount <= 1 << 38 else {
        continue
      }
      try domain.map(iova, physical, byteCount)
      let expected = naiveSizes(iova, physical, byteCount, sizes: domain.pageSizes)
      let made = leaves(of: domain, iova, byteCount)
      try #require(made.map(\.byteCount) == expected, "seed \(seed), step \(step), iova \(iova)")
      for leaf in made {
        let offset = leaf.start.rawValue - iova
        try #require(leaf.physical.rawValue == physical + offset, "seed \(seed), step \(step)")
      }
    }
  }

  @Test("sizes grow to the largest and shrink again")
  func growAndShrink() throws {
    let domain = try Bench().domain()
    try domain.map(0x1800, 0x1_0000_1800, 0x6000)
    #expect(
      leaves(of: domain, 0x1800, 0x6000).map(\.byteCount) == [0x800, 0x2000, 0x2000, 0x1000, 0x800])
  }

  @Test("the whole table can be mapped at once")
  func wholeTable() throws {
    let domain = try Bench().domain()
    try domain.map(0, 0, 1 << 38)
    #expect(domain.tableCount == 0)
    #expect(
      [0, 1 << 36, 2 << 36, 3 << 36].allSatisfy {
        domain.leaf(at: IOVirtualAddress($0))?.byteCount == 1 << 36
      })
    domain.unmap(0, 1 << 38)
    #expect(domain.physical(0) == nil)
  }
}
