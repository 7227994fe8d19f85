internal import Clients
internal import Hardware
internal import IOMMUCore

/// One mapping: a stretch of IOVAs over a slice of pages (kernel: iopt_area).
final class Area {
  let iova: UInt64
  let last: UInt64
  let pages: Pages
  /// Byte of `pages` that `iova` stands for.
  let startByte: UInt64
  let access: Access
  /// Whether the space's domains map it; the pages are acquired then.
  var isFilled = false
  /// Ranges of it that accesses hold, and how many of those forbid unmapping.
  var accessCount = 0
  var lockCount = 0
  /// Set when an unmap has asked the accesses to let go.
  var preventsAccess = false

  init(iova: UInt64, last: UInt64, pages: Pages, startByte: UInt64, access: Access) {
    self.iova = iova
    self.last = last
    self.pages = pages
    self.startByte = startByte
    self.access = access
  }

  var byteCount: UInt64 { last - iova + 1 }
  var firstPage: UInt64 { startByte >> pageShift }
  var lastPage: UInt64 { (startByte + (last - iova)) >> pageShift }
  var pageOffset: UInt64 { startByte % pageBytes }

  func byte(at iova: UInt64) -> UInt64 { startByte + (iova - self.iova) }
  func page(at iova: UInt64) -> UInt64 { byte(at: iova) >> pageShift }
}

extension Area {
  /// Maps all of it in one domain. On an error nothing is mapped there.
  func map(in domain: PagingDomain, largeLeaves: Bool) throws(DriverError) {
    guard !pages.isRevoked else { return }
    var failure: DriverError?
    var mapped: UInt64 = 0
    pages.forEachRun(firstPage, lastPage) { first, count, base in
      // The first page can begin, and the last one end, in its middle.
      let skip = first == firstPage ? pageOffset : 0
      let start = first == firstPage ? iova : iova + (first << pageShift - startByte)
      let end = min(last, start + (count << pageShift - skip) - 1)
      do throws(DriverError) {
        if largeLeaves {
          try domain.map(
            IOVirtualAddress(start), to: base.advanced(by: skip), byteCount: end - start + 1,
            access: access)
          mapped += end - start + 1
        } else {
          try mapPageByPage(
            in: domain, from: start, through: end, to: base.advanced(by: skip), &mapped)
        }
        return true
      } catch {
        failure = error
        return false
      }
    }
    if let failure {
      if mapped > 0 { domain.unmap(IOVirtualAddress(iova), byteCount: mapped) }
      throw failure
    }
  }

  private func mapPageByPage(
    in domain: PagingDomain, from start: UInt64, through end: UInt64, to base: PhysicalAddress,
    _ mapped: inout UInt64
  ) throws(DriverError) {
    var done: UInt64 = 0
    while start + done <= end {
      let offset = (base.rawValue + done) % pageBytes
      let count = min(pageBytes - offset, end - (start + done) + 1)
      try domain.map(
        IOVirtualAddress(start + done), to: base.advanced(by: done), byteCount: count,
        access: access)
      done += count
      mapped += count
    }
  }

  func unmap(from domain: PagingDomain) {
    guard !pages.isRevoked else { return }
    domain.unmap(IOVirtualAddress(iova), byteCount: byteCount)
  }

  /// Maps it in every domain of its space, the first users of its pages.
  func fill(_ domains: [PagingDomain], largeLeaves: Bool) throws(Refusal) {
    guard !domains.isEmpty else { return }
    try pages.acquire(firstPage, lastPage)
    for (index, domain) in domains.enumerated() {
      do throws(DriverError) {
        try map(in: domain, largeLeaves: largeLeaves)
      } catch {
        for done in domains[..<index] { unmap(from: done) }
        pages.release(firstPage, lastPage)
        throw Refusal(error)
      }
    }
    isFilled = true
  }

  func unfill(_ domains: [PagingDomain]) {
    guard isFilled else { return }
    for domain in domains { unmap(from: domain) }
    isFilled = false
    pages.release(firstPage, lastPage)
  }
}

/// An area as the tree holds it, which keeps plain words only: the reference is counted by hand.
@safe struct AreaReference: BitwiseCopyable {
  private let reference: Unmanaged<Area>

  init(retaining area: Area) {
    unsafe reference = .passRetained(area)
  }

  var area: Area { unsafe reference.takeUnretainedValue() }
  func release() { unsafe reference.release() }
}
