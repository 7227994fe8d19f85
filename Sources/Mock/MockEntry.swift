internal import Hardware

/// Shape of the mock's page tables: AMD's first-generation format with a granule of 2 KiB.
enum MockGeometry {
  static var granuleLog2: Int { 11 }
  static var indexBits: Int { 9 }
  static var slotCount: Int { 1 << indexBits }
  /// Level 0 holds leaves only. The top level never grows.
  static var topLevel: Int { 2 }
  static var addressBits: Int { granuleLog2 + indexBits * (topLevel + 1) }
  static var outputAddressBits: Int { 51 }
  /// Every power of two, except one so large that it would fill half of the top table.
  static var pageSizes: UInt64 { (1 << UInt64(addressBits - 1)) - (1 << UInt64(granuleLog2)) }

  /// Bytes that one slot translates, as a power of two.
  @inline(__always)
  static func slotLog2(level: Int) -> Int { granuleLog2 &+ indexBits &* level }

  @inline(__always)
  static func slotBytes(level: Int) -> UInt64 { 1 &<< UInt64(slotLog2(level: level)) }

  @inline(__always)
  static func index(of iova: UInt64, level: Int) -> Int {
    Int(truncatingIfNeeded: iova &>> UInt64(slotLog2(level: level))) & (slotCount &- 1)
  }

  /// The level whose slots, alone or several in a row, make leaves of this size.
  @inline(__always)
  static func level(ofLeafLog2 log2: Int) -> Int { (log2 &- granuleLog2) / indexBits }
}

/// One slot of a table. Every slot of a leaf holds the same word, except for the dirty bit.
struct MockEntry: BitwiseCopyable, Equatable {
  var rawValue: UInt64

  private static var present: UInt64 { 1 << 0 }
  private static var leadsToTable: UInt64 { 1 << 1 }
  private static var sizeShift: UInt64 { 2 }
  private static var sizeMask: UInt64 { 63 }
  private static var dirty: UInt64 { 1 << 8 }
  private static var physicalMask: UInt64 {
    (1 << UInt64(MockGeometry.outputAddressBits)) - (1 << UInt64(MockGeometry.granuleLog2))
  }
  private static var accessShift: UInt64 { 61 }
  private static var accessMask: UInt64 { 3 }
  /// Addresses in this process that an allocation can have: 48 bits, 16-byte aligned.
  private static var tableMask: UInt64 { (1 << 48) - 16 }

  @inline(__always)
  init(rawValue: UInt64) { self.rawValue = rawValue }

  static var empty: Self { Self(rawValue: 0) }

  /// A leaf of 2^`log2` bytes, to which `physical` is aligned.
  @inline(__always)
  init(leafAt physical: UInt64, log2: Int, access: Access) {
    rawValue =
      physical | Self.present | UInt64(truncatingIfNeeded: log2) &<< Self.sizeShift
      | (UInt64(access.rawValue) & Self.accessMask) &<< Self.accessShift
  }

  @inline(__always)
  init(table: MockTableMemory) {
    rawValue = table.address | Self.present | Self.leadsToTable
  }

  @inline(__always) var isEmpty: Bool { rawValue == 0 }
  @inline(__always) var isTable: Bool { rawValue & Self.leadsToTable != 0 }
  @inline(__always) var isDirty: Bool { rawValue & Self.dirty != 0 }
  @inline(__always) var marked: Self { Self(rawValue: rawValue | Self.dirty) }
  @inline(__always) var clean: Self { Self(rawValue: rawValue & ~Self.dirty) }

  /// Where the table is that this entry leads to.
  @inline(__always) var table: MockTableMemory {
    MockTableMemory(address: rawValue & Self.tableMask)
  }

  /// The same leaf with another address.
  @inline(__always)
  func moved(by bytes: UInt64) -> Self { Self(rawValue: rawValue &+ bytes) }

  @inline(__always) var leafLog2: Int {
    Int(truncatingIfNeeded: rawValue &>> Self.sizeShift & Self.sizeMask)
  }
  @inline(__always) var leafBytes: UInt64 { 1 &<< UInt64(truncatingIfNeeded: leafLog2) }
  @inline(__always) var physical: UInt64 { rawValue & Self.physicalMask }
  @inline(__always) var access: Access {
    Access(rawValue: UInt8(truncatingIfNeeded: rawValue &>> Self.accessShift & Self.accessMask))
  }
}

/// The 512 slots of a table, without ownership.
@safe struct MockTableMemory: BitwiseCopyable {
  private let slots: UnsafeMutablePointer<UInt64>

  init() {
    unsafe slots = .allocate(capacity: MockGeometry.slotCount)
    unsafe slots.initialize(repeating: 0, count: MockGeometry.slotCount)
  }

  /// The table that an entry names; the entry was made from one.
  @inline(__always)
  init(address: UInt64) {
    unsafe slots = UnsafeMutablePointer(bitPattern: UInt(address)).unsafelyUnwrapped
  }

  func deallocate() { unsafe slots.deallocate() }

  @inline(__always) var address: UInt64 { UInt64(UInt(bitPattern: unsafe slots)) }

  @inline(__always)
  subscript(index: Int) -> MockEntry {
    get { MockEntry(rawValue: unsafe slots[index]) }
    nonmutating set { unsafe slots[index] = newValue.rawValue }
  }

  @inline(__always)
  func isVacant(_ start: Int, _ end: Int) -> Bool {
    var union: UInt64 = 0
    var index = start
    while index < end {
      union |= unsafe slots[index]
      index &+= 1
    }
    return union == 0
  }

  @inline(__always)
  func fill(_ start: Int, _ end: Int, with entry: MockEntry) {
    var index = start
    while index < end {
      self[index] = entry
      index &+= 1
    }
  }

  /// Writes leaves that lie one behind the other, each in `step` slots.
  func fillLeaves(_ start: Int, _ end: Int, step: Int, from entry: MockEntry, leafBytes: UInt64) {
    var entry = entry
    var index = start
    // Pages of 4 KiB take two slots: worth a loop without a loop inside.
    if step == 2 {
      while index < end {
        self[index] = entry
        self[index &+ 1] = entry
        entry = entry.moved(by: leafBytes)
        index &+= 2
      }
      return
    }
    while index < end {
      fill(index, index &+ step, with: entry)
      entry = entry.moved(by: leafBytes)
      index &+= step
    }
  }
}
