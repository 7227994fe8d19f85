public import Clients
public import Hardware
internal import IOMMUCore

/// A user of a space that is no device: software that reads, writes or pins mapped memory by IOVA
/// (kernel: iommufd_access).
public final class SoftwareAccess: ContextObject {
  /// A page when it pins pages, else a byte.
  public let alignment: UInt64
  /// Asks the holder to unpin what lies in a range that is about to be unmapped. Nil for a hardware
  /// queue's own access, whose pages cannot be unmapped at all.
  let mustLetGo: ((_ iova: UInt64, _ byteCount: UInt64) -> Void)?
  public private(set) var space: IOAddressSpace?

  private init(
    alignment: UInt64, mustLetGo: ((UInt64, UInt64) -> Void)?, in context: Context
  ) {
    self.alignment = alignment
    self.mustLetGo = mustLetGo
    super.init(in: context)
  }

  /// Makes an access, attached to nothing, that keeps the context alive.
  public static func make(
    pinsPages: Bool, in context: Context, mustLetGo: @escaping (UInt64, UInt64) -> Void
  ) throws(Refusal) -> SoftwareAccess {
    let access = try context.reserve(
      SoftwareAccess(alignment: pinsPages ? pageBytes : 1, mustLetGo: mustLetGo, in: context))
    context.retain()
    access.users += 1
    context.publish(access)
    return access
  }

  /// Makes an access for a hardware queue.
  static func makeInternal(in context: Context) throws(Refusal) -> SoftwareAccess {
    let access = try context.reserve(
      SoftwareAccess(alignment: pageBytes, mustLetGo: nil, in: context))
    access.users += 1
    context.publish(access)
    return access
  }

  private var isInternal: Bool { mustLetGo == nil }

  public override func destroy() {
    detach()
    // Outside of a call: the context may go with it.
    if !isInternal { context.release() }
  }

  /// Works on another space from now on; pages pinned in the former one are let go.
  public func attach(to new: IOAddressSpace) throws(Refusal) {
    guard space !== new else { return }
    try new.add(self)
    new.users += 1
    if let old = space {
      mustLetGo?(0, .max)
      old.remove(self)
      old.users -= 1
    }
    space = new
  }

  /// The same, by the space's number, for an access that is attached already.
  public func replaceSpace(by id: UInt32) throws(Refusal) {
    guard space != nil else {
      throw Refusal(.ENOENT, because: "the access is not attached")
    }
    try attach(to: try context.object(id))
  }

  func detach() {
    guard let old = space else { return }
    mustLetGo?(0, .max)
    old.remove(self)
    old.users -= 1
    space = nil
  }

  private func attachedSpace() throws(Refusal) -> IOAddressSpace {
    guard let space else { throw Refusal(.ENOENT, because: "the access is not attached") }
    return space
  }
}

extension SoftwareAccess {
  /// Pins the pages behind `iova` and reports their physical addresses in order.
  public func pin(
    _ iova: UInt64, byteCount: UInt64, writable: Bool, _ report: (PhysicalAddress) -> Void
  ) throws(Refusal) {
    guard byteCount > 0 else { throw Refusal(.EINVAL, because: "the length is zero") }
    guard let last = lastByte(of: iova, byteCount) else {
      throw Refusal(.EOVERFLOW, because: "the range does not fit 64 bits")
    }
    let space = try attachedSpace()
    var end = iova
    do throws(Refusal) {
      try space.forEachContiguousArea(iova, last) { (area, first, areaEnd) throws(Refusal) in
        try pin(area, first, areaEnd, isLast: areaEnd == last, writable: writable)
        end = areaEnd &+ 1
        area.pages.forEachRun(area.page(at: first), area.page(at: areaEnd)) { _, count, base in
          for page in 0..<count { report(base.advanced(by: page << pageShift)) }
          return true
        }
      }
    } catch {
      if end > iova { unpin(iova, byteCount: end - iova) }
      throw error
    }
  }

  private func pin(
    _ area: Area, _ first: UInt64, _ last: UInt64, isLast: Bool, writable: Bool
  ) throws(Refusal) {
    guard !area.preventsAccess, area.byte(at: first) % pageBytes == 0,
      isLast || area.byte(at: area.last) % pageBytes == pageBytes - 1
    else { throw Refusal(.EINVAL, because: "the memory is not whole pages, or is being unmapped") }
    guard area.access.contains(writable ? .write : .read) else {
      throw Refusal(.EPERM, because: "the mapping does not allow this access")
    }
    guard !writable || area.pages.isWritable else {
      throw Refusal(.EPERM, because: "the pages were mapped without the right to write")
    }
    guard !area.pages.isExportedBuffer else {
      throw Refusal(.EINVAL, because: "an exported buffer has no pages to pin")
    }
    try environment.failures.step()
    try area.pages.addAccess(area.page(at: first), area.page(at: last))
    area.accessCount += 1
    if isInternal { area.lockCount += 1 }
  }

  /// Undoes `pin` for exactly the same range.
  public func unpin(_ iova: UInt64, byteCount: UInt64) {
    guard byteCount > 0, let last = lastByte(of: iova, byteCount), let space else { return }
    // The range was pinned, so it is mapped without a gap.
    try? space.forEachContiguousArea(iova, last) { (area, first, end) throws(Refusal) in
      area.pages.removeAccess(area.page(at: first), area.page(at: end))
      area.accessCount -= 1
      if isInternal { area.lockCount -= 1 }
    }
  }

  /// Copies bytes out of mapped memory. `slowly` goes by the pages a device would see.
  public func read(
    _ iova: UInt64, _ bytes: inout [UInt8], slowly: Bool, caller: any Caller
  ) throws(Refusal) {
    var refusal: Refusal?
    unsafe bytes.withUnsafeMutableBytes { buffer in
      do throws(Refusal) {
        try copy(iova, UInt64(buffer.count), .read) {
          (area, start, offset, count) throws(Refusal) in
          let part = unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[offset..<offset + count])
          try unsafe area.pages.read(start, into: part, slowly: slowly, caller: caller)
        }
      } catch {
        refusal = error
      }
    }
    if let refusal { throw refusal }
  }

  /// Copies bytes into mapped memory.
  public func write(
    _ iova: UInt64, _ bytes: [UInt8], slowly: Bool, caller: any Caller
  ) throws(Refusal) {
    var refusal: Refusal?
    unsafe bytes.withUnsafeBytes { buffer in
      do throws(Refusal) {
        try copy(iova, UInt64(buffer.count), .write) {
          (area, start, offset, count) throws(Refusal) in
          guard area.pages.isWritable else {
            throw Refusal(.EPERM, because: "the pages were mapped without the right to write")
          }
          let part = unsafe UnsafeRawBufferPointer(rebasing: buffer[offset..<offset + count])
          try unsafe area.pages.write(start, from: part, slowly: slowly, caller: caller)
        }
      } catch {
        refusal = error
      }
    }
    if let refusal { throw refusal }
  }

  private func copy(
    _ iova: UInt64, _ byteCount: UInt64, _ access: Access,
    _ body: (Area, _ start: UInt64, _ offset: Int, _ count: Int) throws(Refusal) -> Void
  ) throws(Refusal) {
    guard byteCount > 0 else { throw Refusal(.EINVAL, because: "the length is zero") }
    guard let last = lastByte(of: iova, byteCount) else {
      throw Refusal(.EOVERFLOW, because: "the range does not fit 64 bits")
    }
    try attachedSpace().forEachContiguousArea(iova, last) { (area, first, end) throws(Refusal) in
      guard !area.preventsAccess else {
        throw Refusal(.EINVAL, because: "the mapping is being removed")
      }
      guard area.access.contains(access) else {
        throw Refusal(.EPERM, because: "the mapping does not allow this access")
      }
      guard !area.pages.isExportedBuffer else {
        throw Refusal(.EINVAL, because: "an exported buffer cannot be read or written by software")
      }
      try body(area, area.byte(at: first), Int(first - iova), Int(end - first + 1))
    }
  }
}
