import Hardware
import IOMMUCore
import Testing

@testable import Mock

@Suite("Mock device")
struct DeviceTests {
  @Test("numbers are the lowest free ones, and names follow them")
  func numbers() throws {
    let unit = MockUnit(failures: FailurePlan())
    let devices = try (0..<3).map { _ in try unit.makeDevice(flags: []) }
    #expect(devices.map(\.name) == ["iommufd_mock0", "iommufd_mock1", "iommufd_mock2"])
    unit.remove(devices[1])
    #expect(devices[1].group.devices.isEmpty)
    #expect(try unit.makeDevice(flags: .pasid).number == 1)
    #expect(unit.deviceCount == 3)
    #expect(Set(devices.map { ObjectIdentifier($0.group) }).count == 3)
  }

  @Test("unknown flags are refused", arguments: [1 << 1, 1 << 3, 1 << 31] as [UInt32])
  func flags(rawValue: UInt32) {
    let unit = MockUnit(failures: FailurePlan())
    #expect(
      refusal { _ = try unit.makeDevice(flags: MockDeviceFlags(rawValue: rawValue)) } == .invalid)
    #expect(unit.deviceCount == 0)
  }

  @Test("capabilities follow the flags")
  func capabilities() throws {
    let usual = try Bench().device
    #expect(usual.isCapable(of: .cacheCoherency))
    #expect(usual.isCapable(of: .dirtyTracking))
    for capability: DeviceCapability in [
      .enforcedCacheCoherency, .addressTranslationServices, .executePASID, .privilegedPASID,
    ] {
      #expect(!usual.isCapable(of: capability))
    }
    // A width of 0 bits, which leaves the number 0 (iodiff, fault-1).
    #expect(usual.pasidLimit == 1)
    let other = try Bench(flags: [.noDirtyTracking, .pasid]).device
    #expect(!other.isCapable(of: .dirtyTracking))
    #expect(other.pasidLimit == 1 << 20)
    #expect(usual.cache[0] == 0xbad_dad && usual.cache[3] == 0xbad_dad)
  }

  @Test("hardware information comes for two types", arguments: [0, 0xfeed_beef] as [UInt32])
  func hardwareInformation(type: UInt32) throws {
    let device = try Bench().device
    let information = try device.hardwareInfo(type: type)
    #expect(information.type == 0xfeed_beef)
    #expect(information.bytes == [0, 0, 0, 0, 0xef, 0xbe, 0xad, 0xde])
    #expect(refusal { _ = try device.hardwareInfo(type: 1) } == .notSupported)
  }
}

@Suite("Mock domain allocation")
struct AllocationTests {
  func paging(
    _ options: DomainOptions, _ data: UserData?, flags: MockDeviceFlags = []
  ) -> DriverError.Kind? {
    refusal { _ = try Bench(flags: flags).device.allocatePagingDomain(options, data) }
  }

  @Test("options")
  func options() {
    #expect(paging([], nil) == nil)
    #expect(paging([.dirtyTracking, .nestingParent, .pasid], nil) == nil)
    #expect(paging(DomainOptions(rawValue: 8), nil) == .notSupported)
    #expect(paging(.dirtyTracking, nil, flags: .noDirtyTracking) == .notSupported)
    // Before the data is looked at.
    #expect(
      paging(.dirtyTracking, FakeMemory([0]).data(type: 1), flags: .noDirtyTracking)
        == .notSupported)
  }

  @Test("data of a paging domain")
  func pagingData() {
    #expect(paging([], FakeMemory([0, 0]).data(type: 0xdead)) == nil)
    #expect(paging([], FakeMemory([0]).data(type: 0xdead)) == nil)
    #expect(paging([], FakeMemory([0, 1]).data(type: 0xdead)) == nil)
    #expect(paging([], FakeMemory([0, 2]).data(type: 0xdead)) == .notSupported)
    #expect(paging([], FakeMemory([0, 0]).data(type: 0xdeae)) == .notSupported)
    // Type 0 passes the first check and not the second, as on Linux.
    #expect(paging([], FakeMemory([0, 0]).data(type: 0)) == .invalid)
    #expect(paging([], FakeMemory([0, 0]).data(type: 0xdead, byteCount: 3)) == .invalid)
    #expect(paging([], FakeMemory([0, 0, 0]).data(type: 0xdead)) == .invalid)
    #expect(paging([], FakeMemory([0]).data(type: 0xdead, byteCount: 8)) == .badAddress)
  }

  @Test("options and data of a nested domain")
  func nested() throws {
    let bench = try Bench()
    let parent = try bench.domain()
    func kind(_ options: DomainOptions, _ data: UserData) -> DriverError.Kind? {
      refusal { _ = try bench.device.allocateNestedDomain(on: parent, options, data) }
    }
    let data = FakeMemory([9]).data(type: 0xdead)
    #expect(kind(.pasid, data) == nil)
    #expect(kind(.dirtyTracking, data) == .notSupported)
    #expect(kind(.nestingParent, data) == .notSupported)
    #expect(kind([], FakeMemory([9]).data(type: 0)) == .notSupported)
    #expect(kind([], FakeMemory([9]).data(type: 0xdead, byteCount: 2)) == .invalid)
    let domain = try bench.nested(iotlb: 9)
    #expect(domain.iotlb.indices.allSatisfy { domain.iotlb[$0] == 9 })
    #expect(domain.virtualIOMMU == nil)
  }
}
