internal import Clients
internal import Hardware
internal import IOMMUCore

/// An I/O address space: which IOVAs lead to which memory, and the domains that show it to devices
/// (kernel: iommufd_ioas and io_pagetable).
public final class IOAddressSpace: ContextObject {
  /// Areas by IOVA.
  var areas = IntervalMap<AreaReference>()
  var reserved = ReservedRanges()
  var allowed = AllowedRanges()
  /// Every domain maps every area. The last one fills the place of one that is removed.
  var domains: [PagingDomain] = []
  /// In the order in which they were made.
  var pageTables: [PagingPageTable] = []
  var accesses: [SoftwareAccess] = []
  /// What IOVAs, lengths and page offsets have to be multiples of.
  var alignment: UInt64 = 1
  /// Leaves no larger than a page, so that a mapping can be cut anywhere (VFIO type 1).
  var largePagesDisabled = false

  /// Removes every mapping.
  public override func destroy() {
    _ = try? unmap(0, through: .max)
    reserved.removeAll(of: nil)
  }

  deinit {
    precondition(areas.isEmpty, "a space was dropped with mappings")
  }

  func area(containing iova: UInt64) -> Area? {
    areas.entry(containing: iova)?.value.area
  }

  func area(intersecting start: UInt64, _ last: UInt64) -> Area? {
    areas.first(intersecting: start, last)?.value.area
  }

  func insert(_ area: Area) {
    areas.insert(start: area.iova, last: area.last, value: AreaReference(retaining: area))
    area.pages.exportedBuffer?.track(area, in: self)
    environment.liveAreas += 1
  }

  func remove(_ area: Area) {
    guard let held = areas.remove(startingAt: area.iova) else {
      preconditionFailure("an area was removed twice")
    }
    area.pages.exportedBuffer?.untrack(area)
    held.release()
    environment.liveAreas -= 1
  }

  /// Calls `body` with each area in order.
  func forEachArea<Failure: Error>(_ body: (Area) throws(Failure) -> Void) throws(Failure) {
    var failure: Failure?
    areas.forEach(intersecting: 0, .max) { entry in
      do throws(Failure) {
        try body(entry.value.area)
        return true
      } catch {
        failure = error
        return false
      }
    }
    if let failure { throw failure }
  }

  /// The first IOVA of the n-th mapping; fuzzers name mappings so.
  public func firstIOVA(ofMapping index: UInt32) -> UInt64? {
    var left = index
    var found: UInt64?
    areas.forEach(intersecting: 0, .max) { entry in
      if left == 0 { found = entry.start }
      left &-= 1
      return found == nil
    }
    return found
  }

  /// Calls `body` with the areas that hold `first...last` without a gap, and with the part of the
  /// range that each holds.
  func forEachContiguousArea(
    _ first: UInt64, _ last: UInt64,
    _ body: (Area, _ first: UInt64, _ last: UInt64) throws(Refusal) -> Void
  ) throws(Refusal) {
    var next = first
    while true {
      guard let area = area(containing: next) else {
        throw Refusal(.ENOENT, because: "the range is not mapped without a gap")
      }
      try body(area, next, min(last, area.last))
      guard area.last < last else { return }
      next = area.last + 1
    }
  }
}

extension IOAddressSpace {
  /// A slice of pages that is to become an area.
  struct Slice {
    var pages: Pages
    var startByte: UInt64
    var byteCount: UInt64
  }

  /// Maps one slice, at `fixed` or where there is room. Returns the first IOVA.
  func map(_ slice: Slice, at fixed: UInt64?, access: Access) throws(Refusal) -> UInt64 {
    try environment.failures.step()
    let iova = try place(slice.byteCount, at: fixed, like: slice)
    let area = try makeArea(slice, at: iova, access: access)
    try area.fill(domains, largeLeaves: !largePagesDisabled)
    insert(area)
    return iova
  }

  /// Maps slices one behind the other; all or none.
  func map(
    _ slices: [Slice], byteCount: UInt64, at fixed: UInt64?, access: Access
  ) throws(Refusal) -> UInt64 {
    for _ in slices { try environment.failures.step() }
    let iova = try place(byteCount, at: fixed, like: slices[0])
    var new: [Area] = []
    var next = iova
    for slice in slices {
      new.append(try makeArea(slice, at: next, access: access))
      next &+= slice.byteCount
    }
    for (index, area) in new.enumerated() {
      do throws(Refusal) {
        try area.fill(domains, largeLeaves: !largePagesDisabled)
      } catch {
        for done in new[..<index] { done.unfill(domains) }
        throw error
      }
    }
    for area in new { insert(area) }
    return iova
  }

  /// Checks the place that was asked for, or chooses one.
  private func place(
    _ byteCount: UInt64, at fixed: UInt64?, like slice: Slice
  ) throws(Refusal) -> UInt64 {
    guard byteCount & (alignment - 1) == 0, byteCount != 0 else {
      throw Refusal(.EINVAL, because: "the length is zero or not a multiple of the alignment")
    }
    guard let fixed else {
      return try chooseIOVA(byteCount, hint: slice.pages.alignmentHint &+ slice.startByte)
    }
    try check(fixed, byteCount)
    return fixed
  }

  private func makeArea(_ slice: Slice, at iova: UInt64, access: Access) throws(Refusal) -> Area {
    if access.contains(.write), !slice.pages.isWritable {
      throw Refusal(.EPERM, because: "the pages were mapped without the right to write")
    }
    guard slice.startByte % pageBytes & (alignment - 1) == 0 else {
      throw Refusal(.EINVAL, because: "the memory is not aligned as the IOMMU needs it")
    }
    guard let last = lastByte(of: iova, slice.byteCount),
      let end = lastByte(of: slice.startByte, slice.byteCount),
      end >> pageShift < slice.pages.pageCount
    else { throw Refusal(.EOVERFLOW, because: "the range does not fit 64 bits") }
    return Area(
      iova: iova, last: last, pages: slice.pages, startByte: slice.startByte, access: access)
  }

  private func check(_ iova: UInt64, _ byteCount: UInt64) throws(Refusal) {
    guard iova & (alignment - 1) == 0 else {
      throw Refusal(.EINVAL, because: "the IOVA is not a multiple of the alignment")
    }
    guard let last = lastByte(of: iova, byteCount) else {
      throw Refusal(.EOVERFLOW, because: "the range does not fit 64 bits")
    }
    guard !reserved.intersects(iova...last) else {
      throw Refusal(.EINVAL, because: "a device or the IOMMU reserves some of the IOVAs")
    }
    guard areas.first(intersecting: iova, last) == nil else {
      throw Refusal(.EEXIST, because: "some of the IOVAs are mapped already")
    }
  }

  /// The slices of what `iova` and the bytes behind it are mapped to, for mapping it again.
  func slices(_ iova: UInt64, _ byteCount: UInt64) throws(Refusal) -> [Slice] {
    guard byteCount > 0 else { throw Refusal(.EINVAL, because: "the length is zero") }
    guard let last = lastByte(of: iova, byteCount) else {
      throw Refusal(.EOVERFLOW, because: "the range does not fit 64 bits")
    }
    var slices: [Slice] = []
    try forEachContiguousArea(iova, last) { (area, first, last) throws(Refusal) in
      try environment.failures.step()
      slices.append(
        Slice(
          pages: area.pages, startByte: area.byte(at: first), byteCount: last - first + 1))
    }
    return slices
  }

  /// Removes the areas inside `start...last` and tells how many bytes they had. Areas that the
  /// range would cut end it; those before are gone then.
  func unmap(_ start: UInt64, through last: UInt64) throws(PartialUnmap) -> UInt64 {
    var next = start
    var unmapped: UInt64 = 0
    while let area = area(intersecting: next, last) {
      if area.lockCount > 0 {
        throw PartialUnmap(
          byteCount: unmapped,
          refusal: Refusal(.EBUSY, because: "a hardware queue lies in the range"))
      }
      guard area.iova >= next, area.last <= last else {
        throw PartialUnmap(
          byteCount: unmapped,
          refusal: Refusal(.ENOENT, because: "the range would cut a mapping"))
      }
      if area.accessCount > 0 {
        area.preventsAccess = true
        for access in accesses { access.mustLetGo?(area.iova, area.byteCount) }
        precondition(area.accessCount == 0, "an access kept pages that it was told to release")
      }
      area.unfill(domains)
      unmapped &+= area.byteCount
      let end = area.last
      remove(area)
      guard end < last else { break }
      next = end + 1
    }
    return unmapped
  }

  /// An unmap that ended early.
  struct PartialUnmap: Error {
    var byteCount: UInt64
    var refusal: Refusal
  }
}
