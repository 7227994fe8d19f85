import Hardware
import IOMMUCore
import Testing

@testable import Mock

/// Laws of one mapping, for ranges that meet the borders of leaves and tables.
@Suite("Mock table laws")
struct TableLawTests {
  struct Range: CustomTestStringConvertible, Sendable {
    var iova: UInt64
    var physical: UInt64
    var byteCount: UInt64
    var testDescription: String {
      "0x\(String(iova, radix: 16)) to 0x\(String(physical, radix: 16)), \(byteCount) bytes"
    }
  }

  /// The fourth and the fifth cross a table of level 0 and one of level 1.
  static let ranges: [Range] = [
    Range(iova: 0, physical: 0x1_0000_0000, byteCount: 4096),
    Range(iova: 0x100_0000, physical: 0x1_0000_0000, byteCount: 2048),
    Range(iova: 0xff_f800, physical: 0x1_0000_0800, byteCount: 3 * 2048),
    Range(iova: 0xf_f000, physical: 0x1_0000_1000, byteCount: 0x2000),
    Range(iova: 0x1fff_f000, physical: 0x2_0000_0000, byteCount: 0x2000),
    Range(iova: 0x10_0000, physical: 0x7_0010_0000, byteCount: 1 << 20),
    Range(iova: 0x1000_0000, physical: 0x3_1000_0000, byteCount: 3 << 27),
    Range(iova: 0x8_0000, physical: 0x1_0000_1000, byteCount: 1 << 21),
    Range(iova: (1 << 38) - 0x20_0000, physical: (1 << 51) - 0x20_0000, byteCount: 0x20_0000),
    Range(iova: 0x7ff_f800, physical: 0x12_7fff_f800, byteCount: (1 << 22) + 2048),
  ]

  @Test(
    "every 2 KiB of a mapping leads to its own address, and nothing beside it", arguments: ranges)
  func translate(range: Range) throws {
    let domain = try Bench().domain()
    try domain.map(range.iova, range.physical, range.byteCount)
    for offset in stride(from: 0, to: range.byteCount, by: 2048) {
      for byte: UInt64 in [0, 1, 2047] {
        try #require(
          domain.physical(range.iova + offset + byte) == range.physical + offset + byte,
          "offset \(offset) + \(byte)")
      }
    }
    if range.iova > 0 { #expect(domain.physical(range.iova - 1) == nil) }
    #expect(domain.physical(range.iova + range.byteCount) == nil)
  }

  @Test("unmapping leaves nothing translated", arguments: ranges)
  func unmapLeavesNothing(range: Range) throws {
    let domain = try Bench().domain()
    try domain.map(range.iova, range.physical, range.byteCount)
    domain.unmap(range.iova, range.byteCount)
    #expect(leaves(of: domain, range.iova, range.byteCount).isEmpty)
    try domain.map(range.iova, range.physical, range.byteCount)
    #expect(domain.physical(range.iova) == range.physical)
  }

  @Test("unmapping everything frees every table", arguments: ranges)
  func unmapFreesTables(range: Range) throws {
    let domain = try Bench().domain()
    try domain.map(range.iova, range.physical, range.byteCount)
    domain.unmap(0, 1 << 38)
    #expect(domain.tableCount == 0)
    #expect(domain.physical(range.iova) == nil)
  }

  @Test("a table goes exactly when an unmapped range covers it whole")
  func coveredTables() throws {
    let domain = try Bench().domain()
    for page in 0..<UInt64(256) { try domain.map(page << 12, 0x1_0000_1000 + page << 12, 4096) }
    #expect(domain.tableCount == 2)
    for page in 0..<UInt64(256) { domain.unmap(page << 12, 4096) }
    #expect(domain.tableCount == 2)
    for page in 0..<UInt64(256) { try domain.map(page << 12, 0x1_0000_1000 + page << 12, 4096) }
    domain.unmap(0, 1 << 20)
    #expect(domain.tableCount == 1)
  }

  @Test("a leaf takes the place of the empty tables below it")
  func leafReplacesTables() throws {
    let domain = try Bench().domain()
    try domain.map(0x4000_0000, 0x1000, 4096)
    try domain.map(0x6000_0000, 0x1000, 4096)
    domain.unmap(0x4000_0000, 4096)
    domain.unmap(0x6000_0000, 4096)
    #expect(domain.tableCount == 4)
    try domain.map(0x4000_0000, 0x4000_0000, 1 << 30)
    #expect(domain.tableCount == 0)
    #expect(domain.leaf(at: IOVirtualAddress(0x7fff_ffff))?.byteCount == 1 << 30)
  }

  @Test("leaves over empty tables lead on where those before them end")
  func leavesOverTables() throws {
    let domain = try Bench().domain()
    for slot in 1...3 as ClosedRange<UInt64> {
      try domain.map(0x4000_0000 + slot << 20, 0x1000, 4096)
      domain.unmap(0x4000_0000 + slot << 20, 4096)
    }
    // 4 KiB, then one leaf of 1 MiB and one of 2 MiB.
    try domain.map(0x400f_f000, 0x1_000f_f000, 0x30_1000)
    for offset in stride(from: 0, to: 0x30_1000, by: 4096) as StrideTo<UInt64> {
      try #require(domain.physical(0x400f_f000 + offset) == 0x1_000f_f000 + offset)
    }
    let huge = try Bench().domain(.huge)
    try huge.map(0x10_0000, 0x1000, 4096)
    huge.unmap(0x10_0000, 4096)
    try huge.map(0, 0x1_0000_0000, 4 << 20)
    #expect(huge.tableCount == 1)
    #expect((0..<4).allSatisfy { huge.physical($0 << 20) == 0x1_0000_0000 + $0 << 20 })
  }

  @Test("a large leaf that meets a mapping halfway leaves a sound table")
  func halfVacant() throws {
    let domain = try Bench().domain()
    try domain.map(0x4000_0000, 0x1000, 4096)
    try domain.map(0x4010_0000, 0x1000, 4096)
    domain.unmap(0x4000_0000, 4096)
    #expect(refusal { try domain.map(0x4000_0000, 0, 2 << 20) } == .addressInUse)
    #expect(domain.physical(0x4000_0000) == nil)
    #expect(domain.physical(0x4010_0000) == 0x1000)
    domain.unmap(0, 1 << 38)
    #expect(domain.tableCount == 0)
  }

  @Test(
    "access comes back",
    arguments: [[.read], [.write], [.read, .write]] as [Access], [2048, 4096, 1 << 22] as [UInt64])
  func access(access: Access, byteCount: UInt64) throws {
    let domain = try Bench().domain()
    try domain.map(0x4000_0000, 0x1_0000_0000, byteCount, access)
    #expect(
      domain.leaf(at: IOVirtualAddress(0x4000_0000 + byteCount - 1))
        == MockLeaf(
          start: IOVirtualAddress(0x4000_0000), byteCount: byteCount,
          physical: PhysicalAddress(0x1_0000_0000), access: access))
  }

  @Test("what cannot be mapped is refused by kind, and changes nothing")
  func refusals() throws {
    let domain = try Bench().domain()
    #expect(refusal { try domain.map(0x1000, 0x1000, 4096, []) } == .invalid)
    #expect(refusal { try domain.map(0x1000, 0x1000, 0) } == .invalid)
    #expect(refusal { try domain.map(0x1000, 1 << 51, 4096) } == .outOfRange)
    #expect(refusal { try domain.map(1 << 38, 0x1000, 4096) } == .outOfRange)
    #expect(refusal { try domain.map((1 << 38) - 4096, 0x1000, 8192) } == .outOfRange)
    #expect(refusal { try domain.map(0 &- 4096, 0x1000, 8192) } == .outOfRange)
    #expect(refusal { try domain.map(0x1000, 0x1000, 1024) } == .notEncodable)
    #expect(refusal { try domain.map(0x1400, 0x1000, 4096) } == .notEncodable)
    #expect(refusal { try domain.map(0x1000, 0x1400, 4096) } == .notEncodable)
    #expect(refusal { try Bench().domain(.huge).map(0x1800, 0x1000, 4096) } == .notEncodable)
    #expect(domain.tableCount == 0)
  }

  @Test("an overlap at the start, in the middle or at the end is refused, and what was there stays")
  func overlaps() throws {
    let domain = try Bench().domain()
    try domain.map(0x10_4000, 0x9_0000, 4096)
    for (iova, byteCount): (UInt64, UInt64) in [
      (0x10_4000, 4096), (0x10_4800, 2048), (0x10_0000, 1 << 20), (0, 1 << 29),
      (0x10_1000, 0x8000), (0x8_0000, 0x8_5000), (0x10_3000, 8192),
    ] {
      #expect(refusal { try domain.map(iova, iova, byteCount) } == .addressInUse, "\(iova)")
      let left = leaves(of: domain, 0, 1 << 21)
      #expect(left.map(\.start.rawValue) == [0x10_4000])
      #expect(left.first?.physical.rawValue == 0x9_0000)
    }
    let small = try Bench().domain()
    try small.map(0x10_4800, 0x9_0000, 2048)
    #expect(refusal { try small.map(0x10_4000, 0x1000, 4096) } == .addressInUse)
    #expect(small.physical(0x10_4000) == nil)
    let large = try Bench().domain()
    try large.map(0x4000_0000, 0x4000_0000, 1 << 30)
    #expect(refusal { try large.map(0x4000_0000, 0x1000, 4096) } == .addressInUse)
  }
}

@Suite("Mock table geometry")
struct GeometryTests {
  /// VFIO shows 0x1ffffff000 for a default domain on Linux 7.3: bits 12 to 36.
  @Test("the standard format has Linux's page sizes and aperture")
  func standard() throws {
    let domain = try Bench().domain()
    #expect(domain.pageSizes == 0x1f_ffff_f800)
    #expect(domain.pageSizes & ~0xfff == 0x1f_ffff_f000)
    #expect(domain.aperture == 0x100_0000...0x7fff_ffff)
  }

  @Test("the huge format has two page sizes and three full levels")
  func huge() throws {
    let domain = try Bench().domain(.huge)
    #expect(domain.pageSizes == 0x10_1000)
    #expect(domain.aperture == 0...0x3f_ffff_ffff)
  }
}
