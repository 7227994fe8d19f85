public import IOMMUCore

extension MockDevice {
  /// The PASID on which every second use fails, so that clients can see a replacement roll back.
  private static var failingPASID: UInt32 { 1024 }  // IOMMU_TEST_PASID_RESERVED

  public func setDomain(
    _ domain: Domain?, pasid: UInt32?, replacing old: Domain?
  ) throws(DriverError) {
    if let pasid {
      try setDomain(domain, onPASID: pasid, replacing: old)
    } else {
      try setDomain(domain)
    }
  }

  /// The order of the checks can be seen from outside: dirty tracking, virtual id, page requests.
  private func setDomain(_ new: Domain?) throws(DriverError) {
    if flags.contains(.noDirtyTracking), let paging = new as? PagingDomain, paging.hasDirtyTracking
    {
      throw DriverError(.invalid, because: "the device cannot track dirty pages")
    }
    let newVirtualIOMMU = (new as? MockNestedDomain)?.virtualIOMMU
    var newVirtualID: UInt64 = 0
    if let newVirtualIOMMU {
      guard let present = newVirtualIOMMU.host.virtualID(of: self) else {
        throw DriverError(.notFound, because: "the device has no id in the virtual IOMMU")
      }
      newVirtualID = present
    }
    try enablePageRequests(for: new)

    // The id is read once, when the virtual IOMMU changes.
    if newVirtualIOMMU !== virtualIOMMU {
      virtualIOMMU = newVirtualIOMMU
      virtualID = newVirtualID
    }
    disablePageRequests(for: domain)
    domain = new
  }

  private func setDomain(
    _ new: Domain?, onPASID pasid: UInt32, replacing old: Domain?
  ) throws(DriverError) {
    if pasid == Self.failingPASID {
      let isDue = isPASIDFailureDue
      isPASIDFailureDue = new != nil && !isDue
      if new != nil, isDue {
        throw DriverError(.outOfMemory, because: "every second use of PASID 1024 fails")
      }
    }
    try enablePageRequests(for: new)
    disablePageRequests(for: old)
  }

  private func enablePageRequests(for domain: Domain?) throws(DriverError) {
    guard domain?.pageRequestHandler != nil else { return }
    if pageRequestUsers == 0 { try mockUnit.failures.countAllocation() }
    pageRequestUsers += 1
  }

  private func disablePageRequests(for domain: Domain?) {
    guard domain?.pageRequestHandler != nil else { return }
    pageRequestUsers -= 1
  }
}
