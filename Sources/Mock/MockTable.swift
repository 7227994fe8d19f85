internal import Hardware
internal import IOMMUCore

/// The page table of a mock domain: a radix tree of 64-bit entries in memory of its own.
///
/// A leaf of any power of two takes the slots of one level that make up its size. Lower tables are
/// freed when a range that covers them whole is unmapped.
@safe struct MockTable: ~Copyable {
  let top: MockTableMemory
  let pageSizes: UInt64
  let failures: FailurePlan
  private let counter: UnsafeMutablePointer<Int>

  init(pageSizes: UInt64, failures: FailurePlan) {
    top = MockTableMemory()
    self.pageSizes = pageSizes
    self.failures = failures
    unsafe counter = .allocate(capacity: 1)
    unsafe counter.initialize(to: 0)
  }

  deinit {
    Self.deallocate(below: top, level: MockGeometry.topLevel)
    top.deallocate()
    unsafe counter.deallocate()
  }

  /// Tables below the top.
  var tableCount: Int { unsafe counter.pointee }

  /// Makes an empty table. The one step of mapping that can run out of memory.
  func makeTable() throws(DriverError) -> MockTableMemory {
    try failures.countAllocation()
    unsafe counter.pointee += 1
    return MockTableMemory()
  }

  /// Frees a table and all below it.
  func free(_ table: MockTableMemory, level: Int) {
    unsafe counter.pointee -= 1 + Self.deallocate(below: table, level: level)
    table.deallocate()
  }

  @discardableResult
  private static func deallocate(below table: MockTableMemory, level: Int) -> Int {
    guard level > 0 else { return 0 }
    var count = 0
    for index in 0..<MockGeometry.slotCount where table[index].isTable {
      let child = table[index].table
      count += 1 + deallocate(below: child, level: level - 1)
      child.deallocate()
    }
    return count
  }

  /// The leaf entry that translates an IOVA and the level of its table; empty when there is none.
  @inline(__always)
  func entry(of iova: UInt64) -> (entry: MockEntry, table: MockTableMemory, level: Int) {
    var table = top
    guard Self.translates(iova) else { return (.empty, table, 0) }
    var level = MockGeometry.topLevel
    var entry = table[MockGeometry.index(of: iova, level: level)]
    while entry.isTable {
      table = entry.table
      level &-= 1
      entry = table[MockGeometry.index(of: iova, level: level)]
    }
    return (entry, table, level)
  }

  @inline(__always)
  static func translates(_ iova: UInt64) -> Bool {
    iova &>> UInt64(MockGeometry.addressBits) == 0
  }

  /// How many slots a leaf takes, and the first of them.
  @inline(__always)
  static func slots(
    of entry: MockEntry, translating iova: UInt64, level: Int
  ) -> (first: Int, count: Int) {
    let count = 1 &<< (entry.leafLog2 &- MockGeometry.slotLog2(level: level))
    return (MockGeometry.index(of: iova, level: level) & ~(count &- 1), count)
  }

  /// Where an IOVA leads to, to the byte.
  @inline(__always)
  func physicalAddress(of iova: UInt64) -> UInt64? {
    let entry = entry(of: iova).entry
    guard !entry.isEmpty else { return nil }
    return entry.physical | iova & (entry.leafBytes &- 1)
  }
}
