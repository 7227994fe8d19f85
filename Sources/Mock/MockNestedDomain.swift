public import IOMMUCore

/// A domain whose table the client keeps: for the mock, four words of IOTLB and nothing behind
/// them.
public final class MockNestedDomain: NestedDomain {
  /// The virtual IOMMU it was made in, if any.
  public let virtualIOMMU: MockVirtualIOMMU?
  public private(set) var iotlb: MockCache

  init(
    unit: MockUnit, _ options: DomainOptions, _ data: UserData, virtualIOMMU: MockVirtualIOMMU?
  ) throws(DriverError) {
    guard options.isSubset(of: .pasid) else {
      throw DriverError(.notSupported, because: "a nested domain takes no option but PASID")
    }
    guard data.type == MockType.domainData else {
      throw DriverError(.notSupported, because: "the domain data is not the mock's")
    }
    let configuration = try data.load(
      type: MockType.domainData, zero: MockDomainData(),
      minimumBytes: MockDomainData.minimumBytes)
    try unit.failures.countAllocation()
    self.virtualIOMMU = virtualIOMMU
    iotlb = MockCache(repeating: configuration.iotlb)
    super.init(owner: unit)
  }

  /// Entries are read one by one, so those before a bad one take effect.
  public override func invalidate(
    _ entries: UserDataArray
  ) -> (done: UInt32, error: DriverError?) {
    guard entries.type == MockType.domainInvalidation else {
      return (0, DriverError(.invalid, because: "the invalidations are not the mock's"))
    }
    for index in 0..<entries.entryCount {
      do throws(DriverError) {
        let entry = try entries.load(
          index, type: MockType.domainInvalidation, zero: MockDomainInvalidation(),
          minimumBytes: MockDomainInvalidation.minimumBytes)
        try iotlb.invalidate(word: entry.word, flags: entry.flags)
      } catch {
        return (index, error)
      }
    }
    return (entries.entryCount, nil)
  }
}

extension MockCache {
  /// Clears one word, or all of them whatever word is named; the name must be valid in any case.
  mutating func invalidate(word: UInt32, flags: UInt32) throws(DriverError) {
    try Self.check(word: word, flags: flags)
    for index in indices where flags & mockInvalidateAll != 0 || index == Int(word) {
      self[index] = 0
    }
  }

  static func check(word: UInt32, flags: UInt32) throws(DriverError) {
    guard flags & ~mockInvalidateAll == 0 else {
      throw DriverError(.notSupported, because: "the invalidation has unknown flags")
    }
    guard word < count else {
      throw DriverError(.invalid, because: "the mock caches have four words")
    }
  }
}
