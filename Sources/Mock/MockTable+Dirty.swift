internal import Hardware
internal import IOMMUCore

extension MockTable {
  /// Marks one slot as written to, as a device would; does nothing where nothing is mapped.
  func setDirty(_ iova: UInt64) {
    let (entry, table, level) = entry(of: iova)
    guard !entry.isEmpty else { return }
    table[MockGeometry.index(of: iova, level: level)] = entry.marked
  }

  /// Reports the leaves that were written to and meet the range, each whole and once.
  func readDirty(
    _ iova: UInt64, byteCount: UInt64, clear: Bool, _ report: (IOVirtualAddress, UInt64) -> Void
  ) throws(DriverError) {
    guard byteCount > 0 else { throw DriverError(.invalid, because: "the range is empty") }
    let (end, overflow) = iova.addingReportingOverflow(byteCount)
    guard !overflow, end <= 1 << UInt64(MockGeometry.addressBits) else {
      throw DriverError(.outOfRange, because: "the table does not translate the IOVA")
    }
    readDirty(top, level: MockGeometry.topLevel, from: iova, to: end, clear: clear, report)
  }

  private func readDirty(
    _ table: MockTableMemory, level: Int, from iova: UInt64, to end: UInt64, clear: Bool,
    _ report: (IOVirtualAddress, UInt64) -> Void
  ) {
    let slotBytes = MockGeometry.slotBytes(level: level)
    var address = iova
    while address < end {
      let entry = table[MockGeometry.index(of: address, level: level)]
      var next = (address | (slotBytes &- 1)) &+ 1
      if entry.isTable {
        readDirty(
          entry.table, level: level - 1, from: address, to: min(end, next), clear: clear, report)
      } else if !entry.isEmpty {
        let start = address & ~(entry.leafBytes &- 1)
        if isDirty(table, level: level, leaf: entry, at: start, clear: clear) {
          report(IOVirtualAddress(start), entry.leafBytes)
        }
        next = start &+ entry.leafBytes
      }
      address = next
    }
  }

  /// Whether any slot of a leaf is marked; takes the marks away when `clear`.
  @inline(__always)
  func isDirty(
    _ table: MockTableMemory, level: Int, leaf: MockEntry, at start: UInt64, clear: Bool
  ) -> Bool {
    let (first, count) = Self.slots(of: leaf, translating: start, level: level)
    var isDirty = false
    for index in first..<(first &+ count) where table[index].isDirty {
      isDirty = true
      if clear { table[index] = table[index].clean }
    }
    return isDirty
  }
}
