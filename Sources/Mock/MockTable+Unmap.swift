internal import Hardware
internal import IOMMUCore

extension MockTable {
  /// Unmaps whole leaves, and frees the tables that the range covers whole. Holes are passed over.
  @inline(__always)
  func unmap(_ iova: UInt64, byteCount: UInt64) {
    if byteCount == pageBytes, unmapPage(iova) { return }
    if unmapLeaf(iova, byteCount: byteCount) { return }
    unmapRange(iova, byteCount: byteCount)
  }

  /// The most frequent case: one page that is a leaf. False for any other.
  @inline(__always)
  private func unmapPage(_ iova: UInt64) -> Bool {
    guard Self.translates(iova), iova & (pageBytes &- 1) == 0 else { return false }
    let middle = top[MockGeometry.index(of: iova, level: 2)]
    guard middle.isTable else { return false }
    let bottom = middle.table[MockGeometry.index(of: iova, level: 1)]
    guard bottom.isTable else { return false }
    let table = bottom.table
    let index = MockGeometry.index(of: iova, level: 0)
    guard table[index].leafLog2 == Int(pageShift) else { return false }
    table.fill(index, index &+ 2, with: .empty)
    return true
  }

  /// The next frequent case: exactly one leaf, which never covers a table. False for any other.
  @inline(__always)
  private func unmapLeaf(_ iova: UInt64, byteCount: UInt64) -> Bool {
    let (entry, table, level) = entry(of: iova)
    guard !entry.isEmpty, entry.leafBytes == byteCount, iova & (byteCount &- 1) == 0 else {
      return false
    }
    let (first, count) = Self.slots(of: entry, translating: iova, level: level)
    table.fill(first, first &+ count, with: .empty)
    return true
  }

  @inline(never)
  private func unmapRange(_ iova: UInt64, byteCount: UInt64) {
    guard byteCount > 0, Self.translates(iova) else { return }
    let end = min(byteCount, (1 << UInt64(MockGeometry.addressBits)) - iova) + iova
    clear(top, level: MockGeometry.topLevel, from: iova, to: end)
  }

  /// Clears what a table translates of a range that lies inside its reach.
  private func clear(_ table: MockTableMemory, level: Int, from iova: UInt64, to end: UInt64) {
    let slotBytes = MockGeometry.slotBytes(level: level)
    var address = iova
    while address < end {
      let index = MockGeometry.index(of: address, level: level)
      let entry = table[index]
      let slotEnd = (address | (slotBytes &- 1)) &+ 1
      if entry.isEmpty {
        address = slotEnd
      } else if entry.isTable {
        if address & (slotBytes &- 1) == 0, slotEnd <= end {
          free(entry.table, level: level - 1)
          table[index] = .empty
        } else {
          clear(entry.table, level: level - 1, from: address, to: min(end, slotEnd))
        }
        address = slotEnd
      } else {
        precondition(
          address & (entry.leafBytes - 1) == 0 && end - address >= entry.leafBytes,
          "an unmapped range cuts a leaf")
        let (first, count) = Self.slots(of: entry, translating: address, level: level)
        table.fill(first, first &+ count, with: .empty)
        address &+= entry.leafBytes
      }
    }
  }
}
