public import Hardware
public import IOMMUCore

/// A leaf of a mock table.
public struct MockLeaf: Equatable, Sendable {
  public var start: IOVirtualAddress
  public var byteCount: UInt64
  public var physical: PhysicalAddress
  public var access: Access
  public var isDirty: Bool

  public init(
    start: IOVirtualAddress, byteCount: UInt64, physical: PhysicalAddress, access: Access,
    isDirty: Bool = false
  ) {
    self.start = start
    self.byteCount = byteCount
    self.physical = physical
    self.access = access
    self.isDirty = isDirty
  }
}

/// A domain over a mock table.
public final class MockPagingDomain: PagingDomain {
  private let table: MockTable
  public private(set) var isTrackingDirty = false

  init(unit: MockUnit, kind: MockTableKind, hasDirtyTracking: Bool) {
    let pageSizes: UInt64
    let aperture: ClosedRange<UInt64>
    switch kind {
    case .standard:
      pageSizes = MockGeometry.pageSizes
      aperture = (1 << 24)...(1 << 31) - 1  // MOCK_APERTURE_START, MOCK_APERTURE_LAST
    case .huge:
      // Clients are meant to map in large leaves, but without pages of 4 KiB IOMMUFD takes no
      // domain.
      pageSizes = 1 << 20 | pageBytes  // MOCK_HUGE_PAGE_SIZE
      aperture = 0...(1 << UInt64(MockGeometry.addressBits)) - 1
    }
    table = MockTable(pageSizes: pageSizes, failures: unit.failures)
    super.init(
      owner: unit, pageSizes: pageSizes, aperture: aperture, hasDirtyTracking: hasDirtyTracking)
  }

  /// Tables below the top one.
  public var tableCount: Int { table.tableCount }

  public override func map(
    _ iova: IOVirtualAddress, to physical: PhysicalAddress, byteCount: UInt64, access: Access
  ) throws(DriverError) {
    try table.map(
      iova.rawValue, to: physical.rawValue, byteCount: byteCount, access: access)
  }

  public override func unmap(_ iova: IOVirtualAddress, byteCount: UInt64) {
    table.unmap(iova.rawValue, byteCount: byteCount)
  }

  public override func physicalAddress(of iova: IOVirtualAddress) -> PhysicalAddress? {
    table.physicalAddress(of: iova.rawValue).map { PhysicalAddress($0) }
  }

  /// The leaf that translates an IOVA.
  public func leaf(at iova: IOVirtualAddress) -> MockLeaf? {
    let (entry, memory, level) = table.entry(of: iova.rawValue)
    guard !entry.isEmpty else { return nil }
    let start = iova.rawValue & ~(entry.leafBytes - 1)
    return MockLeaf(
      start: IOVirtualAddress(start), byteCount: entry.leafBytes,
      physical: PhysicalAddress(entry.physical), access: entry.access,
      isDirty: table.isDirty(memory, level: level, leaf: entry, at: start, clear: false))
  }

  public override func setDirtyTracking(_ enabled: Bool) throws(DriverError) {
    try checkDirtyTracking()
    isTrackingDirty = enabled
  }

  public override func readDirty(
    _ iova: IOVirtualAddress, byteCount: UInt64, clear: Bool,
    _ report: (IOVirtualAddress, UInt64) -> Void
  ) throws(DriverError) {
    try checkDirtyTracking()
    try table.readDirty(iova.rawValue, byteCount: byteCount, clear: clear, report)
  }

  /// Marks an IOVA as a device's write would; does nothing where nothing is mapped.
  public func setDirty(_ iova: IOVirtualAddress) { table.setDirty(iova.rawValue) }

  private func checkDirtyTracking() throws(DriverError) {
    guard hasDirtyTracking else {
      throw DriverError(.notSupported, because: "the domain has no dirty tracking")
    }
  }
}
