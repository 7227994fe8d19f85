public import Clients
internal import Hardware
internal import IOMMUCore

extension IOAddressSpace {
  /// Shows every area in another domain. On an error nothing has changed.
  func add(_ domain: PagingDomain) throws(Refusal) {
    let smallestLeaf = domain.pageSizes & (~domain.pageSizes &+ 1)
    let newAlignment = max(smallestLeaf, alignment)
    guard newAlignment <= pageBytes else {
      throw Refusal(.EINVAL, because: "the IOMMU cannot map single pages")
    }
    if newAlignment != alignment { try checkAreas(areAlignedTo: newAlignment) }
    do throws(Refusal) {
      if domain.aperture.lowerBound > 0 {
        try reserve(0...(domain.aperture.lowerBound - 1), owner: domain)
      }
      if domain.aperture.upperBound < .max {
        try reserve((domain.aperture.upperBound + 1)...(.max), owner: domain)
      }
      try environment.failures.step()
      try fill(domain)
    } catch {
      reserved.removeAll(of: domain)
      throw error
    }
    alignment = newAlignment
    domains.append(domain)
  }

  private func fill(_ domain: PagingDomain) throws(Refusal) {
    let isFirst = domains.isEmpty
    var done: [Area] = []
    do throws(Refusal) {
      try forEachArea { (area) throws(Refusal) in
        if isFirst {
          try area.fill([domain], largeLeaves: !largePagesDisabled)
        } else {
          try asRefusal { () throws(DriverError) in
            try area.map(in: domain, largeLeaves: !largePagesDisabled)
          }
        }
        done.append(area)
      }
    } catch {
      for area in done {
        if isFirst { area.unfill([domain]) } else { area.unmap(from: domain) }
      }
      throw error
    }
  }

  func remove(_ domain: PagingDomain) {
    guard let index = domains.firstIndex(where: { $0 === domain }) else { return }
    if domains.count == 1 {
      forEachArea { $0.unfill([domain]) }
    } else {
      forEachArea { $0.unmap(from: domain) }
    }
    domains.swapAt(index, domains.count - 1)
    domains.removeLast()
    reserved.removeAll(of: domain)
    alignment = neededAlignment
  }

  /// Keeps IOVAs from being mapped; refused when some are, or were promised to the client.
  public func reserve(_ range: ClosedRange<UInt64>, owner: AnyObject?) throws(Refusal) {
    guard areas.first(intersecting: range.lowerBound, range.upperBound) == nil,
      !allowed.intersects(range)
    else {
      throw Refusal(
        .EADDRINUSE, because: "IOVAs to be reserved are mapped, or allowed by the client")
    }
    try environment.failures.step()
    reserved.add(range, owner: owner)
  }

  /// Reserves what a device cannot use.
  func reserveRegions(of device: any TranslatedDevice) throws(Refusal) {
    try environment.failures.step(.EINVAL)
    do throws(Refusal) {
      for region in device.reservedRegions where region.kind != .directRelaxable {
        try reserve(region.range, owner: device)
      }
    } catch {
      reserved.removeAll(of: device)
      throw error
    }
  }

  func releaseRegions(of device: any TranslatedDevice) {
    reserved.removeAll(of: device)
  }

  /// IOMMU_IOAS_ALLOW_IOVAS: replaces the promises.
  func setAllowed(_ ranges: AllowedRanges) throws(Refusal) {
    guard !ranges.ranges.contains(where: { reserved.intersects($0) }) else {
      throw Refusal(.EADDRINUSE, because: "some of the IOVAs are reserved")
    }
    allowed = ranges
  }
}

extension IOAddressSpace {
  /// The least alignment that the domains, the accesses and the page option need.
  private var neededAlignment: UInt64 {
    var needed: UInt64 = largePagesDisabled ? pageBytes : 1
    for domain in domains { needed = max(needed, domain.pageSizes & (~domain.pageSizes &+ 1)) }
    for access in accesses { needed = max(needed, access.alignment) }
    return needed
  }

  private func checkAreas(areAlignedTo newAlignment: UInt64) throws(Refusal) {
    let mask = newAlignment - 1
    try forEachArea { (area) throws(Refusal) in
      guard (area.iova | area.byteCount | area.pageOffset) & mask == 0 else {
        throw Refusal(.EADDRINUSE, because: "a mapping is not aligned as it would have to be")
      }
    }
  }

  private func updateAlignment() throws(Refusal) {
    let needed = neededAlignment
    if needed > alignment { try checkAreas(areAlignedTo: needed) }
    alignment = needed
  }

  func disableLargePages() throws(Refusal) {
    guard !largePagesDisabled else { return }
    guard domains.isEmpty || areas.isEmpty else {
      throw Refusal(.EINVAL, because: "domains have mappings already")
    }
    largePagesDisabled = true
    do throws(Refusal) {
      try updateAlignment()
    } catch {
      largePagesDisabled = false
      throw error
    }
  }

  func enableLargePages() {
    largePagesDisabled = false
    alignment = neededAlignment
  }

  func add(_ access: SoftwareAccess) throws(Refusal) {
    try environment.failures.step()
    accesses.append(access)
    do throws(Refusal) {
      try updateAlignment()
    } catch {
      accesses.removeLast()
      throw error
    }
  }

  func remove(_ access: SoftwareAccess) {
    accesses.removeAll { $0 === access }
    alignment = neededAlignment
  }
}

extension IOAddressSpace {
  /// Makes `iova` the last byte of an area, so that what is behind it can be unmapped alone
  /// (VFIO type 1).
  func cut(behind iova: UInt64) throws(Refusal) {
    guard let area = area(containing: iova), iova != area.iova, iova != area.last else { return }
    guard !area.preventsAccess else {
      throw Refusal(.EBUSY, because: "the mapping is being removed")
    }
    guard !area.pages.isExportedBuffer else {
      throw Refusal(.EOPNOTSUPP, because: "a mapping of an exported buffer cannot be cut")
    }
    let rest = iova + 1
    guard rest & (alignment - 1) == 0, area.byte(at: rest) & (alignment - 1) == 0 else {
      throw Refusal(.EINVAL, because: "the cut is not aligned")
    }
    try environment.failures.step()
    guard area.accessCount == 0 else {
      throw Refusal(.EINVAL, because: "an access holds pages of the mapping")
    }
    guard !area.isFilled || largePagesDisabled else {
      throw Refusal(.EINVAL, because: "the mapping may have large leaves")
    }
    let left = Area(
      iova: area.iova, last: iova, pages: area.pages, startByte: area.startByte,
      access: area.access)
    let right = Area(
      iova: rest, last: area.last, pages: area.pages, startByte: area.byte(at: rest),
      access: area.access)
    if area.isFilled {
      // The parts are users of the pages before the whole is none any more: nothing is pinned anew.
      for part in [left, right] {
        part.pages.addUser(part.firstPage, part.lastPage)
        part.isFilled = true
      }
      area.pages.release(area.firstPage, area.lastPage)
      area.isFilled = false
    }
    remove(area)
    insert(left)
    insert(right)
  }
}
