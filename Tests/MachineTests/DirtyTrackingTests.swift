import CKernelABI
import Clients
import Hardware
import TestSupport
import Testing

/// Calls of dirty tracking, with bitmaps as arrays.
extension Client {
  static var bitmap: UInt64 { 0x5000_0000 }

  func mapBitmapMemory() { process.map(Self.bitmap, byteCount: 0x10000) }

  func track(_ table: UInt32, _ isOn: Bool) throws(Refusal) {
    var argument = iommu_hwpt_set_dirty_tracking()
    argument.hwpt_id = table
    argument.flags = isOn ? IOMMU_HWPT_DIRTY_TRACKING_ENABLE : 0
    try call(IOMMUFD_CMD_HWPT_SET_DIRTY_TRACKING, &argument)
  }

  /// The device writes where bits are set; how many bits those were.
  func write(
    _ table: UInt32, _ iova: UInt64, pageSize: UInt64, bits: [Bool]
  ) throws(Refusal) -> UInt64 {
    try caller.store(bytes(bits), at: Self.bitmap)
    let answer = try test(IOMMU_TEST_OP_DIRTY, table) {
      unsafe $0.dirty.iova = iova
      unsafe $0.dirty.length = UInt64(bits.count) * pageSize
      unsafe $0.dirty.page_size = pageSize
      unsafe $0.dirty.uptr = Self.bitmap
    }
    return unsafe answer.dirty.out_nr_dirty
  }

  func writtenPages(
    _ table: UInt32, _ iova: UInt64, _ length: UInt64, pageSize: UInt64, into address: UInt64,
    flags: UInt32 = 0
  ) throws(Refusal) {
    var argument = iommu_hwpt_get_dirty_bitmap()
    argument.hwpt_id = table
    argument.flags = flags
    argument.iova = iova
    argument.length = length
    argument.page_size = pageSize
    argument.data = address
    try call(IOMMUFD_CMD_HWPT_GET_DIRTY_BITMAP, &argument)
  }

  /// The same into a bitmap of zeros, by page.
  func writtenPages(
    _ table: UInt32, _ iova: UInt64, count: Int, flags: UInt32 = 0
  ) throws(Refusal) -> [Int] {
    let byteCount = (count + 7) / 8
    try caller.store([UInt8](repeating: 0, count: byteCount), at: Self.bitmap)
    try writtenPages(
      table, iova, UInt64(count) * 4096, pageSize: 4096, into: Self.bitmap, flags: flags)
    var bytes = [UInt8](repeating: 0, count: byteCount)
    try caller.load(into: &bytes, at: Self.bitmap)
    return (0..<count).filter { bytes[$0 / 8] >> ($0 % 8) & 1 == 1 }
  }

  private func bytes(_ bits: [Bool]) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: (bits.count + 7) / 8)
    for (index, bit) in bits.enumerated() where bit { bytes[index / 8] |= 1 << (index % 8) }
    return bytes
  }
}

@Suite("Dirty tracking")
struct DirtyTrackingTests {
  let client: Client
  let space: UInt32
  let device: (object: UInt32, table: UInt32, device: UInt32)
  let start: UInt64 = 16 << 20
  var noClear: UInt32 { IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR }

  /// Leaves of one page each: which pages a larger leaf joins is no rule.
  init() throws {
    client = try Client()
    client.mapBitmapMemory()
    space = try client.makeSpace()
    try client.option(IOMMU_OPTION_HUGE_PAGES, space, set: 0)
    device = try client.makeDevice(on: space)
  }

  private func makeTable() throws -> UInt32 {
    let table = try client.makeTable(
      device.device, space, flags: IOMMU_HWPT_ALLOC_DIRTY_TRACKING)
    try client.track(table, true)
    return table
  }

  @Test("bitmaps hold what was written since the last clearing", arguments: 1...16 as ClosedRange)
  func seeded(seed: UInt64) throws {
    var random = SeededRandom(seed: seed)
    func below(_ limit: UInt64) -> UInt64 { UInt64.random(in: 0..<limit, using: &random) }

    // Two stretches with a hole between them, in two tables that record apart.
    let stretches: [(iova: UInt64, pages: UInt64)] = [(start, 80), (start + 160 * 4096, 96)]
    for stretch in stretches {
      try client.map(space, Client.buffer, stretch.pages * 4096, at: stretch.iova)
    }
    let tables = [try makeTable(), try makeTable()]
    var written: [Set<UInt64>] = [[], []]

    for step in 1...150 {
      let place = "seed \(seed) step \(step)"
      let which = Int(below(2))
      let stretch = stretches[Int(below(2))]
      switch below(10) {
      case 0..<4:  // the device writes, also where nothing is mapped
        let pageSize: UInt64 = 2048 << below(3)
        let first = start / pageSize + below((260 << 12) / pageSize)
        let bits = (0...below(100)).map { _ in below(3) == 0 }
        let count = try client.write(
          tables[which], first * pageSize, pageSize: pageSize, bits: bits)
        #expect(count == UInt64(bits.count { $0 }), "\(place)")
        for (index, bit) in bits.enumerated() where bit {
          let iova = (first + UInt64(index)) * pageSize
          guard stretches.contains(where: { ($0.iova..<$0.iova + $0.pages << 12) ~= iova })
          else { continue }
          written[which].insert(iova >> 12)
        }
      case 4:  // mapped anew, a stretch is clean
        try client.unmap(space, stretch.iova, stretch.pages * 4096)
        try client.map(space, Client.buffer, stretch.pages * 4096, at: stretch.iova)
        let pages = stretch.iova >> 12..<stretch.iova >> 12 + stretch.pages
        for table in 0..<2 { written[table] = written[table].filter { !pages.contains($0) } }
      default:
        let pageSize: UInt64 = 2048 << below(5)
        let unit = max(pageSize, 4096)
        let first = below(stretch.pages << 12 / unit)
        let count = 1 + below(stretch.pages << 12 / unit - first)
        let range = stretch.iova + first * unit..<stretch.iova + (first + count) * unit
        let keeps = below(2) == 0
        // An odd address, so that the bitmap starts within a word and may cross a page.
        let address = Client.bitmap + 0x1000 + (below(2) == 0 ? below(64) : 4096 - below(8))
        let bitCount = Int((range.upperBound - range.lowerBound) / pageSize)
        var expected = (0..<(bitCount + 7) / 8 + 32).map { _ in UInt8(below(256)) }
        try client.caller.store(expected, at: address - 16)
        try client.writtenPages(
          tables[which], range.lowerBound, range.upperBound - range.lowerBound,
          pageSize: pageSize, into: address, flags: keeps ? noClear : 0)
        for bit in 0..<bitCount {
          let low = range.lowerBound + UInt64(bit) * pageSize
          guard (low >> 12...(low + pageSize - 1) >> 12).contains(where: written[which].contains)
          else { continue }
          expected[16 + bit / 8] |= 1 << (bit % 8)
        }
        if !keeps { written[which] = written[which].filter { !range.contains($0 << 12) } }
        var bytes = [UInt8](repeating: 0, count: expected.count)
        try client.caller.load(into: &bytes, at: address - 16)
        guard bytes == expected else {
          Issue.record("\(place): pages of \(pageSize) from \(range.lowerBound): wrong bits")
          return
        }
      }
    }
  }

  @Test func withoutClearingTheSameBitsComeAgain() throws {
    try client.map(space, Client.buffer, 0x10000, at: start)
    let table = try makeTable()
    _ = try client.write(table, start, pageSize: 4096, bits: [false, true, false, false, true])
    #expect(try client.writtenPages(table, start, count: 16, flags: noClear) == [1, 4])
    #expect(try client.writtenPages(table, start, count: 16) == [1, 4])
    #expect(try client.writtenPages(table, start, count: 16) == [])
  }

  @Test func clearingPartOfARangeLeavesTheRest() throws {
    try client.map(space, Client.buffer, 0x10000, at: start)
    let table = try makeTable()
    _ = try client.write(table, start, pageSize: 4096, bits: Array(repeating: true, count: 16))
    #expect(try client.writtenPages(table, start + 0x4000, count: 4) == [0, 1, 2, 3])
    let rest = [0, 1, 2, 3] + Array(8..<16)
    #expect(try client.writtenPages(table, start, count: 16) == rest)
  }

  @Test func aTableHasItsOwnBits() throws {
    try client.map(space, Client.buffer, 0x4000, at: start)
    let first = try makeTable()
    let second = try makeTable()
    _ = try client.write(first, start, pageSize: 4096, bits: [true])
    #expect(try client.writtenPages(second, start, count: 4) == [])
    #expect(try client.writtenPages(first, start, count: 4) == [0])
  }

  @Test func aRangeIsReadUpToItsFirstHole() throws {
    try client.map(space, Client.buffer, 0x4000, at: start)
    try client.map(space, Client.buffer, 0x4000, at: start + 0x8000)
    let table = try makeTable()
    _ = try client.write(table, start, pageSize: 4096, bits: Array(repeating: true, count: 12))
    #expect(try client.writtenPages(table, start, count: 12) == [0, 1, 2, 3])
    #expect(try client.writtenPages(table, start + 0x4000, count: 8) == [])
    #expect(try client.writtenPages(table, start + 0x8000, count: 4) == [0, 1, 2, 3])
  }

  @Test func neighbouringMappingsAreReadAsOneRange() throws {
    try client.map(space, Client.buffer, 0x2000, at: start)
    try client.map(space, Client.buffer + 0x8000, 0x2000, at: start + 0x2000)
    let table = try makeTable()
    _ = try client.write(table, start, pageSize: 4096, bits: [false, true, true, false])
    #expect(try client.writtenPages(table, start, count: 4) == [1, 2])
  }

  @Test func enablingAgainForgetsWhatWasWritten() throws {
    try client.map(space, Client.buffer, 0x4000, at: start)
    let table = try makeTable()
    _ = try client.write(table, start, pageSize: 4096, bits: [true, true])
    try client.track(table, true)
    #expect(try client.writtenPages(table, start, count: 4) == [])
  }

  @Test func disabledTrackingKeepsTheBitsButRecordsNoMore() throws {
    try client.map(space, Client.buffer, 0x4000, at: start)
    let table = try makeTable()
    _ = try client.write(table, start, pageSize: 4096, bits: [true])
    try client.track(table, false)
    #expect(
      client.errno { () throws(Refusal) in
        _ = try client.write(table, start, pageSize: 4096, bits: [true])
      } == .EINVAL)
    #expect(try client.writtenPages(table, start, count: 4) == [0])
  }

  @Test func aBitmapThatCannotBeWrittenIsNoErrorAndItsBitsAreLost() throws {
    try client.map(space, Client.buffer, 0x4000, at: start)
    client.process.map(0x6000_0000, byteCount: 0x1000, isWritable: false)
    let table = try makeTable()
    for address in [0, 0x6000_0000, 0x6100_0000] as [UInt64] {
      _ = try client.write(table, start, pageSize: 4096, bits: [true])
      try client.writtenPages(table, start, 0x4000, pageSize: 4096, into: address)
      #expect(try client.writtenPages(table, start, count: 4) == [], "\(address)")
    }
  }

  @Test func aWriteMarksTheWholeOfALargeLeaf() throws {
    let space = try client.makeSpace()
    let device = try client.makeDevice(on: space)
    try client.map(space, Client.buffer, 0x10_0000, at: start)
    let table = try client.makeTable(
      device.device, space, flags: IOMMU_HWPT_ALLOC_DIRTY_TRACKING)
    try client.track(table, true)
    _ = try client.write(table, start + 0x2_3000, pageSize: 4096, bits: [true])
    let pages = try client.writtenPages(table, start, count: 256)
    let first = try #require(pages.first)
    #expect(pages.contains(0x23))
    #expect(pages == Array(first..<first + pages.count))
    #expect(pages.count & (pages.count - 1) == 0 && first % pages.count == 0)
    #expect(try client.writtenPages(table, start, count: 256) == [])
  }

  @Test func badRangesAreRefused() throws {
    try client.map(space, Client.buffer, 0x4000, at: start)
    let table = try makeTable()
    func refusal(
      _ iova: UInt64, _ length: UInt64, _ pageSize: UInt64, flags: UInt32 = 0, of id: UInt32
    ) -> Errno? {
      client.errno { () throws(Refusal) in
        try client.writtenPages(
          id, iova, length, pageSize: pageSize, into: Client.bitmap, flags: flags)
      }
    }
    #expect(refusal(start, 0x4000, 4096, flags: 2, of: table) == .EOPNOTSUPP)
    #expect(refusal(start, 0x4000, 4096, of: 99) == .ENOENT)
    #expect(refusal(start, 0x4000, 4096, of: space) == .ENOENT)
    #expect(refusal(start, 0, 4096, of: table) == .EINVAL)
    #expect(refusal(.max - 4095, 0x2000, 4096, of: table) == .EOVERFLOW)
    #expect(refusal(start + 2048, 0x1000, 2048, of: table) == .EINVAL)
    #expect(refusal(start, 0x1800, 2048, of: table) == .EINVAL)
    #expect(refusal(start, 0x4000, 0, of: table) == .EINVAL)
    #expect(refusal(start, 0x3000, 8192, of: table) == .EINVAL)
    #expect(refusal(start + 0x1000, 0x2000, 8192, of: table) == .EINVAL)
    // The automatic table tracks nothing; ranges are looked at first.
    #expect(refusal(start, 0, 4096, of: device.table) == .EINVAL)
    #expect(refusal(start, 0x4000, 4096, of: device.table) == .EOPNOTSUPP)
  }

  @Test func aDeviceWithoutTrackingCannotUseSuchATable() throws {
    let table = try makeTable()
    let other = try client.makeDevice(on: space, flags: MOCK_FLAGS_DEVICE_NO_DIRTY)
    #expect(
      client.errno { () throws(Refusal) in
        _ = try client.makeTable(
          other.device, space, flags: IOMMU_HWPT_ALLOC_DIRTY_TRACKING)
      } == .EOPNOTSUPP)
    #expect(
      client.errno { () throws(Refusal) in try client.replace(other.object, table) } == .EINVAL)
    #expect(try client.replace(device.object, table) == table)
    #expect(
      client.errno { () throws(Refusal) in try client.track(other.table, true) } == .EOPNOTSUPP)
  }
}
