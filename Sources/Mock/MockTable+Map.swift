internal import Hardware
internal import IOMMUCore

extension MockTable {
  /// Maps a range in the largest leaves possible. On an error nothing of it stays mapped.
  @inline(__always)
  func map(
    _ iova: UInt64, to physical: UInt64, byteCount: UInt64, access: Access
  ) throws(DriverError) {
    if byteCount == pageBytes, mapPage(iova, to: physical, access: access) { return }
    try mapRange(iova, to: physical, byteCount: byteCount, access: access)
  }

  /// The frequent case: one page, whose tables exist and whose slots are free. False for any other.
  @inline(__always)
  private func mapPage(_ iova: UInt64, to physical: UInt64, access: Access) -> Bool {
    guard (iova | physical) & (pageBytes &- 1) == 0, Self.translates(iova), !access.isEmpty,
      physical &>> UInt64(MockGeometry.outputAddressBits) == 0
    else { return false }
    let middle = top[MockGeometry.index(of: iova, level: 2)]
    guard middle.isTable else { return false }
    let bottom = middle.table[MockGeometry.index(of: iova, level: 1)]
    guard bottom.isTable else { return false }
    let table = bottom.table
    let index = MockGeometry.index(of: iova, level: 0)
    guard table.isVacant(index, index &+ 2) else { return false }
    let entry = MockEntry(leafAt: physical, log2: Int(pageShift), access: access)
    table.fill(index, index &+ 2, with: entry)
    return true
  }

  @inline(never)
  private func mapRange(
    _ iova: UInt64, to physical: UInt64, byteCount: UInt64, access: Access
  ) throws(DriverError) {
    try check(iova, to: physical, byteCount: byteCount, access: access)
    var done: UInt64 = 0
    do throws(DriverError) {
      while done < byteCount {
        let run = LeafRun(
          iova &+ done, to: physical &+ done, byteCount: byteCount &- done, sizes: pageSizes)
        let level = MockGeometry.level(ofLeafLog2: run.log2)
        let table = try self.table(for: iova &+ done, level: level)
        try fill(
          table, level: level, from: iova &+ done, to: physical &+ done, run, access: access,
          &done)
      }
    } catch {
      if done > 0 { unmap(iova, byteCount: done) }
      throw error
    }
  }

  private func check(
    _ iova: UInt64, to physical: UInt64, byteCount: UInt64, access: Access
  ) throws(DriverError) {
    guard !access.isEmpty else {
      throw DriverError(.invalid, because: "a mapping must be readable or writable")
    }
    let (physicalEnd, wrapped) = physical.addingReportingOverflow(byteCount)
    guard !wrapped, physicalEnd <= 1 << UInt64(MockGeometry.outputAddressBits) else {
      throw DriverError(.outOfRange, because: "the table cannot hold the physical address")
    }
    guard byteCount > 0 else { throw DriverError(.invalid, because: "the mapping is empty") }
    let smallest = pageSizes & (0 &- pageSizes)
    guard (iova | physical | byteCount) & (smallest - 1) == 0 else {
      throw DriverError(.notEncodable, because: "no leaf is small enough for the mapping")
    }
    let (end, overflow) = iova.addingReportingOverflow(byteCount)
    guard !overflow, end <= 1 << UInt64(MockGeometry.addressBits) else {
      throw DriverError(.outOfRange, because: "the table does not translate the IOVA")
    }
  }

  /// The table at a level on the way to an IOVA. Tables that are missing are made.
  private func table(for iova: UInt64, level: Int) throws(DriverError) -> MockTableMemory {
    var table = top
    var current = MockGeometry.topLevel
    while current > level {
      let index = MockGeometry.index(of: iova, level: current)
      let entry = table[index]
      if entry.isTable {
        table = entry.table
      } else {
        guard entry.isEmpty else { throw Self.overlap }
        let made = try makeTable()
        table[index] = MockEntry(table: made)
        table = made
      }
      current -= 1
    }
    return table
  }

  /// Writes as many leaves of a run as one table takes.
  private func fill(
    _ table: MockTableMemory, level: Int, from iova: UInt64, to physical: UInt64, _ run: LeafRun,
    access: Access, _ done: inout UInt64
  ) throws(DriverError) {
    let offset = done
    let leafBytes: UInt64 = 1 &<< UInt64(run.log2)
    let step = 1 &<< (run.log2 &- MockGeometry.slotLog2(level: level))
    let start = MockGeometry.index(of: iova, level: level)
    let room = UInt64(truncatingIfNeeded: (MockGeometry.slotCount &- start) / step)
    let end = start &+ Int(truncatingIfNeeded: min(run.count, room)) &* step
    let entry = MockEntry(leafAt: physical, log2: run.log2, access: access)
    if table.isVacant(start, end) {
      table.fillLeaves(start, end, step: step, from: entry, leafBytes: leafBytes)
      done &+= UInt64(truncatingIfNeeded: (end &- start) / step) &* leafBytes
      return
    }
    for first in stride(from: start, to: end, by: step) {
      try vacate(table, first, first + step, level: level)
      table.fill(first, first + step, with: entry.moved(by: done &- offset))
      done += leafBytes
    }
  }

  /// Makes the slots of a leaf free where they hold empty tables, as earlier unmaps leave them.
  private func vacate(
    _ table: MockTableMemory, _ start: Int, _ end: Int, level: Int
  ) throws(DriverError) {
    for index in start..<end where !table[index].isEmpty {
      let entry = table[index]
      guard entry.isTable, Self.isVacant(entry.table, level: level - 1) else { throw Self.overlap }
      table[index] = .empty
      free(entry.table, level: level - 1)
    }
  }

  private static func isVacant(_ table: MockTableMemory, level: Int) -> Bool {
    for index in 0..<MockGeometry.slotCount {
      let entry = table[index]
      guard entry.isEmpty || entry.isTable && isVacant(entry.table, level: level - 1) else {
        return false
      }
    }
    return true
  }

  private static var overlap: DriverError {
    DriverError(.addressInUse, because: "the IOVA is mapped already")
  }
}

/// Leaves of one size at the beginning of a range.
struct LeafRun {
  var log2: Int
  /// How many there are until a larger size fits, or the rest is smaller.
  var count: UInt64

  /// Takes the largest size of `sizes` that divides both addresses and does not exceed the length.
  /// The range is a multiple of the smallest size.
  @inline(__always)
  init(_ iova: UInt64, to physical: UInt64, byteCount: UInt64, sizes: UInt64) {
    let longest = 63 &- byteCount.leadingZeroBitCount
    let limit = min((iova | physical).trailingZeroBitCount, longest)
    let possible = sizes & (2 &<< UInt64(limit) &- 1)
    log2 = 63 &- possible.leadingZeroBitCount

    var available = byteCount
    let larger = sizes & ~(2 &<< UInt64(log2) &- 1)
    if larger != 0 {
      let next = larger & (0 &- larger)
      if (iova ^ physical) & (next &- 1) == 0 {
        available = min(available, next &- (iova & (next &- 1)))
      }
    }
    count = available &>> UInt64(log2)
  }
}
