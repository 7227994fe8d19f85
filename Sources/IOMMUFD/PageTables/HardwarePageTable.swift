internal import Clients
public import IOMMUCore

/// A domain as an object that devices can be attached to (kernel: iommufd_hw_pagetable).
public class HardwarePageTable: ContextObject {
  /// Set once the driver has made it.
  public fileprivate(set) final var domain: Domain?
  /// May be used together with PASIDs.
  final let isPASIDCompatible: Bool
  final var faultQueue: FaultQueue?

  init(isPASIDCompatible: Bool, in context: Context) {
    self.isPASIDCompatible = isPASIDCompatible
    super.init(in: context)
  }

  /// The table whose space devices attached to this one use: itself, or the nesting parent.
  var paging: PagingPageTable { preconditionFailure("a page table has a space") }

  /// Sends page requests of attached devices to a queue.
  func setFaultQueue(_ queue: FaultQueue) {
    faultQueue = queue
    queue.users += 1
    domain?.pageRequestHandler = queue
  }

  fileprivate func freeDomain() {
    domain?.free()
    domain = nil
    faultQueue?.users -= 1
    faultQueue = nil
  }
}

/// A page table that shows an address space (kernel: iommufd_hwpt_paging).
public final class PagingPageTable: HardwarePageTable {
  let space: IOAddressSpace
  let isNestingParent: Bool
  /// Made by attaching a device to the space itself; it goes with its last device.
  var isAutomatic = false
  private(set) var enforcesCacheCoherency = false

  private init(space: IOAddressSpace, options: DomainOptions) {
    self.space = space
    isNestingParent = options.contains(.nestingParent)
    super.init(isPASIDCompatible: options.contains(.pasid), in: space.context)
    space.users += 1
  }

  override var paging: PagingPageTable { self }
  public var pagingDomain: PagingDomain? { domain as? PagingDomain }

  /// Makes a table that shows everything mapped in `space`. `attachFirst` attaches a device before
  /// the space is filled in, `undo` detaches it when filling fails. The table is reserved, not
  /// published.
  static func make(
    for space: IOAddressSpace, _ device: BoundDevice, _ options: DomainOptions, _ data: UserData?,
    attachFirst: (PagingPageTable) throws(Refusal) -> Void = { _ throws(Refusal) in },
    undo: () -> Void = {}
  ) throws(Refusal) -> PagingPageTable {
    let context = space.context
    let table = try reserve(PagingPageTable(space: space, options: options), in: context)
    do throws(Refusal) {
      let domain = try asRefusal { () throws(DriverError) in
        try device.device.allocatePagingDomain(options, data)
      }
      table.domain = domain
      if device.device.isCapable(of: .enforcedCacheCoherency) { table.enforceCacheCoherency() }
      try attachFirst(table)
      do throws(Refusal) {
        try space.add(domain)
      } catch {
        undo()
        throw error
      }
    } catch {
      context.abort(table)
      throw error
    }
    space.pageTables.append(table)
    return table
  }

  private static func reserve(
    _ table: PagingPageTable, in context: Context
  ) throws(Refusal) -> PagingPageTable {
    do throws(Refusal) {
      return try context.reserve(table)
    } catch {
      table.space.users -= 1
      throw error
    }
  }

  private func enforceCacheCoherency() {
    enforcesCacheCoherency = pagingDomain?.enforceCacheCoherency() ?? false
  }

  public override func destroy() {
    if let domain = pagingDomain, space.pageTables.contains(where: { $0 === self }) {
      space.pageTables.removeAll { $0 === self }
      space.remove(domain)
    }
    freeDomain()
    space.users -= 1
  }
}

/// A page table whose first stage the client keeps (kernel: iommufd_hwpt_nested).
public final class NestedPageTable: HardwarePageTable {
  private let parent: PagingPageTable
  private let virtualIOMMU: VirtualIOMMUObject?

  private init(
    parent: PagingPageTable, virtualIOMMU: VirtualIOMMUObject?, options: DomainOptions
  ) {
    self.parent = parent
    self.virtualIOMMU = virtualIOMMU
    super.init(isPASIDCompatible: options.contains(.pasid), in: parent.context)
  }

  override var paging: PagingPageTable { parent }
  public var nestedDomain: NestedDomain? { domain as? NestedDomain }

  /// Makes a table nested in `parent` directly, or as a part of a virtual IOMMU. Reserved only.
  static func make(
    on parent: PagingPageTable, virtualIOMMU: VirtualIOMMUObject?, _ options: DomainOptions,
    _ allocate: () throws(DriverError) -> NestedDomain
  ) throws(Refusal) -> NestedPageTable {
    let table = try parent.context.reserve(
      NestedPageTable(parent: parent, virtualIOMMU: virtualIOMMU, options: options))
    table.holder.users += 1
    do throws(Refusal) {
      table.domain = try asRefusal { () throws(DriverError) in try allocate() }
    } catch {
      parent.context.abort(table)
      throw error
    }
    return table
  }

  private var holder: ContextObject { virtualIOMMU ?? parent }

  public override func destroy() {
    freeDomain()
    holder.users -= 1
  }
}
