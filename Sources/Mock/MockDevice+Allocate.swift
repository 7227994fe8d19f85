public import IOMMUCore

extension MockDevice {
  public func allocatePagingDomain(
    _ options: DomainOptions, _ data: UserData?
  ) throws(DriverError) -> PagingDomain {
    let tracksDirty = options.contains(.dirtyTracking)
    guard options.isSubset(of: [.dirtyTracking, .nestingParent, .pasid]),
      !(tracksDirty && flags.contains(.noDirtyTracking))
    else {
      throw DriverError(.notSupported, because: "the mock has no such domains for the device")
    }
    var configuration = MockDomainData()
    if let data {
      guard data.type == MockType.domainData || data.type == MockType.noDomainData else {
        throw DriverError(.notSupported, because: "the domain data is not the mock's")
      }
      configuration = try data.load(
        type: MockType.domainData, zero: configuration, minimumBytes: MockDomainData.minimumBytes)
    }
    try mockUnit.failures.countAllocation()
    guard let kind = MockTableKind(rawValue: configuration.tableKind) else {
      throw DriverError(.notSupported, because: "the mock has no such page-table format")
    }
    try mockUnit.failures.countAllocation()  // the top table
    return MockPagingDomain(unit: mockUnit, kind: kind, hasDirtyTracking: tracksDirty)
  }

  public func allocateNestedDomain(
    on parent: PagingDomain, _ options: DomainOptions, _ data: UserData
  ) throws(DriverError) -> NestedDomain {
    try MockNestedDomain(unit: mockUnit, options, data, virtualIOMMU: nil)
  }

  public func supportsVirtualIOMMU(type: UInt32) -> Bool { type == MockType.virtualIOMMU }

  public func allocateVirtualIOMMU(
    type: UInt32, parent: PagingDomain, _ data: UserData?, host: any VirtualIOMMUHost
  ) throws(DriverError) -> VirtualIOMMU {
    guard supportsVirtualIOMMU(type: type) else {
      throw DriverError(.notSupported, because: "the mock has no virtual IOMMUs of this type")
    }
    return try MockVirtualIOMMU(unit: mockUnit, parent: parent, data, host: host)
  }
}
