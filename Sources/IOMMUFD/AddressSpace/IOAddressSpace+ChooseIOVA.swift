internal import Clients
internal import Hardware

/// The largest alignment a chosen IOVA is given: a huge page of the processor.
private let largestAlignment: UInt64 = 2 << 20

extension IOAddressSpace {
  /// Finds room for a mapping: the lowest place outside of what is reserved and mapped, aligned
  /// like the memory, so that large leaves are possible. Never IOVA 0 (kernel: iopt_alloc_iova).
  func chooseIOVA(_ byteCount: UInt64, hint: UInt64) throws(Refusal) -> UInt64 {
    guard byteCount > 0, byteCount < .max / 2 else {
      throw Refusal(.EOVERFLOW, because: "the length is too large to look for room")
    }
    let offset = hint % pageBytes
    let rounded = roundedUpToPowerOfTwo(byteCount)
    let wanted = min(rounded, hint == 0 ? rounded : hint & (~hint &+ 1), largestAlignment)
    guard wanted >= alignment else {
      throw Refusal(.EINVAL, because: "the memory is not aligned as the IOMMU needs it")
    }
    let everything = pageBytes...(UInt64.max - pageBytes)
    for range in allowed.isEmpty ? [everything] : allowed.joined {
      guard range.upperBound >= everything.lowerBound, range.lowerBound <= everything.upperBound
      else { continue }
      let range = range.clamped(to: everything)
      guard
        let start = place(byteCount, in: range, alignment: wanted, offset: offset),
        let iova = room(byteCount, in: start...range.upperBound, alignment: wanted, offset: offset)
      else { continue }
      return iova
    }
    throw Refusal(.ENOSPC, because: "there is no room for the mapping")
  }

  /// The first aligned place in `range` that leaves room for `byteCount`.
  private func place(
    _ byteCount: UInt64, in range: ClosedRange<UInt64>, alignment: UInt64, offset: UInt64
  ) -> UInt64? {
    let (raised, overflow) = range.lowerBound.addingReportingOverflow(alignment - 1)
    guard !overflow else { return nil }
    let start = raised & ~(alignment - 1) | offset
    guard start < range.upperBound, range.upperBound - start >= byteCount - 1 else { return nil }
    return start
  }

  private func room(
    _ byteCount: UInt64, in range: ClosedRange<UInt64>, alignment: UInt64, offset: UInt64
  ) -> UInt64? {
    var found: UInt64?
    reserved.forEachHole(in: range) { hole in
      var next = hole.lowerBound
      while let gap = areas.gap(ofAtLeast: byteCount, from: next, through: hole.upperBound) {
        found = place(
          byteCount, in: gap.first...gap.last, alignment: alignment, offset: offset)
        guard found == nil, gap.last < hole.upperBound else { break }
        next = gap.last + 1
      }
      return found == nil
    }
    return found
  }
}

private func roundedUpToPowerOfTwo(_ value: UInt64) -> UInt64 {
  value <= 1 ? 1 : 1 << (64 - UInt64((value - 1).leadingZeroBitCount))
}
