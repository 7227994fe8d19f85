public import IOMMUCore

/// A device behind the mock unit.
public final class MockDevice: TranslatedDevice {
  let mockUnit: MockUnit
  public let number: Int
  public let flags: MockDeviceFlags
  public let group = DeviceGroup()

  /// Simulated caches; invalidations by the client set words to zero.
  public var cache = MockCache(repeating: 0xbad_dad)  // IOMMU_TEST_DEV_CACHE_DEFAULT

  /// The domain in force without a PASID; nil is the blocked state.
  public internal(set) var domain: Domain?
  /// The virtual IOMMU of a nested domain in force, and the device's name in it.
  public internal(set) var virtualIOMMU: MockVirtualIOMMU?
  public internal(set) var virtualID: UInt64 = 0
  /// How many attachments want page requests.
  public internal(set) var pageRequestUsers = 0
  /// The next use of PASID 1024 fails (pasid_1024_fake_error).
  var isPASIDFailureDue = false

  init(unit: MockUnit, number: Int, flags: MockDeviceFlags) {
    mockUnit = unit
    self.number = number
    self.flags = flags
  }

  public var name: String { "iommufd_mock\(number)" }

  public var driver: AnyObject { mockUnit }
  public var unit: AnyObject { mockUnit }
  public var reservedRegions: [ReservedRegion] { [] }
  /// The kernel gives a device without PASIDs a width of 0 bits, which is one PASID: the number 0.
  public var pasidLimit: UInt32 { flags.contains(.pasid) ? 1 << 20 : 1 }
  public var hasUserPASIDTable: Bool { true }

  public func isCapable(of capability: DeviceCapability) -> Bool {
    switch capability {
    case .cacheCoherency: true
    case .dirtyTracking: !flags.contains(.noDirtyTracking)
    case .enforcedCacheCoherency, .addressTranslationServices, .executePASID, .privilegedPASID:
      false
    }
  }

  public func hardwareInfo(type: UInt32) throws(DriverError) -> (type: UInt32, bytes: [UInt8]) {
    guard type == MockType.defaultHardwareInfo || type == MockType.hardwareInfo else {
      throw DriverError(.notSupported, because: "the mock has no hardware information of this type")
    }
    try mockUnit.failures.countAllocation()
    let testRegister: UInt32 = 0xdead_beef  // IOMMU_HW_INFO_SELFTEST_REGVAL
    return (MockType.hardwareInfo, littleEndianBytes(0, testRegister))
  }

  /// Nothing waits for the answer.
  public func pageResponse(to request: PageRequest, _ response: PageResponse) {}

  /// Raises an event of this device in the virtual IOMMU it is attached through.
  public func raiseVirtualEvent() throws(DriverError) {
    guard let virtualIOMMU, virtualID != 0 else {
      throw DriverError(.notFound, because: "the device is not attached through a virtual IOMMU")
    }
    let bytes = littleEndianBytes(UInt32(truncatingIfNeeded: virtualID))
    try virtualIOMMU.host.report(bytes, type: MockType.event)
  }
}
