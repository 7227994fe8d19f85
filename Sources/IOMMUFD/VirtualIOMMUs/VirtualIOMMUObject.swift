internal import Clients
public import IOMMUCore

/// A slice of a physical IOMMU for one guest, on a nesting parent (kernel: iommufd_viommu).
public final class VirtualIOMMUObject: ContextObject {
  let parent: PagingPageTable
  /// The physical unit it is a slice of, by identity.
  let unit: AnyObject
  /// The driver's side.
  private(set) var driver: VirtualIOMMU?
  /// By the virtual id the client gave.
  var virtualDevices: [UInt64: VirtualDevice] = [:]
  var eventQueues: [EventQueue] = []
  private var mappingOffsets: [UInt64] = []

  private init(parent: PagingPageTable, unit: AnyObject) {
    self.parent = parent
    self.unit = unit
    super.init(in: parent.context)
  }

  /// Makes a virtual IOMMU for the unit of `device`; reserved only.
  static func make(
    type: UInt32, parent: PagingPageTable, for device: BoundDevice, _ data: UserData?
  ) throws(Refusal) -> VirtualIOMMUObject {
    guard let domain = parent.pagingDomain else { preconditionFailure("a table has a domain") }
    let context = parent.context
    let new = try context.reserve(VirtualIOMMUObject(parent: parent, unit: device.device.unit))
    parent.users += 1
    do throws(Refusal) {
      new.driver = try asRefusal { () throws(DriverError) in
        try device.device.allocateVirtualIOMMU(type: type, parent: domain, data, host: new)
      }
    } catch {
      context.abort(new)
      throw error
    }
    return new
  }

  /// Clients have some of its pages mapped.
  override var isMapped: Bool { mappingOffsets.contains { context.mappings.isMapped(at: $0) } }

  public override func destroy() {
    driver?.free()
    driver = nil
    for offset in mappingOffsets { context.mappings.remove(at: offset) }
    parent.users -= 1
  }
}

extension VirtualIOMMUObject: VirtualIOMMUHost {
  public func device(virtualID: UInt64) -> (any TranslatedDevice)? {
    virtualDevices[virtualID]?.device.device
  }

  public func virtualID(of device: any TranslatedDevice) -> UInt64? {
    virtualDevices.values.first { $0.device.device === device }?.virtualID
  }

  public func allocateMapping(byteCount: UInt64) throws(DriverError) -> VirtualIOMMUMapping {
    guard !context.failures.shouldFail(),
      let pages = context.environment.sharedPages.makeSharedPages(byteCount: Int(byteCount))
    else { throw DriverError(.outOfMemory, because: "no pages can be had for the mapping") }
    let offset = context.mappings.add(pages)
    mappingOffsets.append(offset)
    return unsafe VirtualIOMMUMapping(offset: offset, bytes: pages.bytes)
  }

  public func freeMapping(_ mapping: VirtualIOMMUMapping) {
    context.mappings.remove(at: mapping.offset)
    mappingOffsets.removeAll { $0 == mapping.offset }
  }

  public func report(_ event: [UInt8], type: UInt32) throws(DriverError) {
    guard let queue = eventQueues.first(where: { $0.type == type }) else {
      throw DriverError(.notSupported, because: "the client has no queue for this type of event")
    }
    queue.append(event)
  }
}
