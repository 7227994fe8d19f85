internal import Clients
internal import Hardware
internal import IOMMUCore

/// A queue in guest memory that the hardware reads by itself (kernel: iommufd_hw_queue).
///
/// The hardware has its physical address, so its pages stay pinned, and mapped, as long as it
/// exists.
public final class HardwareQueueObject: ContextObject {
  private let virtualIOMMU: VirtualIOMMUObject
  private let pinned: (access: SoftwareAccess, iova: UInt64, byteCount: UInt64)
  private(set) var driver: HardwareQueue?
  private weak var dependency: HardwareQueueObject?

  struct Request {
    var type: UInt32
    var index: UInt32
    var iova: UInt64
    var byteCount: UInt64
  }

  private init(
    of virtualIOMMU: VirtualIOMMUObject,
    pinned: (access: SoftwareAccess, iova: UInt64, byteCount: UInt64)
  ) {
    self.virtualIOMMU = virtualIOMMU
    self.pinned = pinned
    super.init(in: virtualIOMMU.context)
  }

  /// Makes a queue; reserved only. Its number is lower than that of the access that pins its pages.
  static func make(
    _ request: Request, of virtualIOMMU: VirtualIOMMUObject
  ) throws(Refusal) -> HardwareQueueObject {
    let context = virtualIOMMU.context
    let placeholder = try context.reserve(ContextObject(in: context))
    let new: HardwareQueueObject
    let base: PhysicalAddress
    do throws(Refusal) {
      let pinning = try pin(request, in: virtualIOMMU.parent.space)
      new = HardwareQueueObject(
        of: virtualIOMMU, pinned: (pinning.access, pinning.iova, pinning.byteCount))
      base = pinning.base
    } catch {
      context.abandon(placeholder)
      throw error
    }
    new.id = placeholder.id
    virtualIOMMU.users += 1
    do throws(Refusal) {
      try new.start(request, at: base)
    } catch {
      context.abort(new)
      throw error
    }
    return new
  }

  private func start(_ request: Request, at base: PhysicalAddress) throws(Refusal) {
    let queue = try asRefusal { () throws(DriverError) in
      guard let driver = virtualIOMMU.driver else {
        preconditionFailure("a virtual IOMMU has a driver")
      }
      return try driver.allocateHardwareQueue(
        type: request.type, index: request.index, address: IOVirtualAddress(request.iova),
        base: base, byteCount: request.byteCount)
    }
    driver = queue
    guard let needed = queue.dependency else { return }
    dependency = context.objects.objects.lazy
      .compactMap { $0 as? HardwareQueueObject }.first { $0.driver === needed }
    dependency?.users += 1
  }

  public override func destroy() {
    driver?.free()
    driver = nil
    dependency?.users -= 1
    pinned.access.unpin(pinned.iova, byteCount: pinned.byteCount)
    pinned.access.detach()
    context.destroyOwned(pinned.access)
    virtualIOMMU.users -= 1
  }

  private struct Pinning {
    var access: SoftwareAccess
    var iova: UInt64
    var byteCount: UInt64
    var base: PhysicalAddress
  }

  /// Pins the queue's pages, which have to be contiguous.
  private static func pin(
    _ request: Request, in space: IOAddressSpace
  ) throws(Refusal) -> Pinning {
    let context = space.context
    let offset = request.iova % pageBytes
    let (unrounded, overflow) = request.byteCount.addingReportingOverflow(offset + pageBytes - 1)
    guard !overflow else { throw Refusal(.ERANGE, because: "the length does not fit 64 bits") }
    let byteCount = unrounded & ~(pageBytes - 1)
    // The kernel keeps a pointer a page, in a table of less than 2 GiB.
    guard byteCount >> pageShift < 1 << 28, !context.failures.shouldFail() else {
      throw Refusal(.ENOMEM, because: "the queue has too many pages")
    }
    let access = try SoftwareAccess.makeInternal(in: context)
    do throws(Refusal) {
      try access.attach(to: space)
      let iova = request.iova - offset
      let base = try pinContiguously(access, iova, byteCount)
      return Pinning(
        access: access, iova: iova, byteCount: byteCount, base: base.advanced(by: offset))
    } catch {
      access.detach()
      context.destroyOwned(access)
      throw error
    }
  }

  private static func pinContiguously(
    _ access: SoftwareAccess, _ iova: UInt64, _ byteCount: UInt64
  ) throws(Refusal) -> PhysicalAddress {
    var base: PhysicalAddress?
    var next = PhysicalAddress(0)
    var isContiguous = true
    try access.pin(iova, byteCount: byteCount, writable: false) { page in
      if base == nil { base = page } else if page != next { isContiguous = false }
      next = page.advanced(by: pageBytes)
    }
    guard isContiguous, let base else {
      access.unpin(iova, byteCount: byteCount)
      throw Refusal(.EFAULT, because: "the queue's pages are not contiguous in physical memory")
    }
    return base
  }
}
