public import CKernelABI
public import Clients
internal import IOMMUCore

/// IOMMU_HWPT_ALLOC: makes a page table for a device: of a space, or nested in a table or a vIOMMU.
public enum PageTableAllocateCommand: IoctlCommand {
  public static var number: UInt32 { IOMMUFD_CMD_HWPT_ALLOC }
  public static var minimumBytes: Int { 24 }
  public static var zero: iommu_hwpt_alloc { iommu_hwpt_alloc() }

  public static func execute(
    _ argument: inout iommu_hwpt_alloc, _ call: Call
  ) throws(Refusal) -> Int64 {
    guard argument.reserved == 0 else {
      throw Refusal(.EOPNOTSUPP, because: "a reserved word is not zero")
    }
    guard (argument.data_type == IOMMU_HWPT_DATA_NONE) == (argument.data_len == 0) else {
      throw Refusal(.EINVAL, because: "driver data needs both a type and a length")
    }
    let context = call.context
    let device: BoundDevice = try context.object(argument.dev_id)
    let table = try makeTable(argument, for: device, call)
    do throws(Refusal) {
      if argument.flags & IOMMU_HWPT_FAULT_ID_VALID != 0 {
        table.setFaultQueue(try context.object(argument.fault_id))
      }
      argument.out_hwpt_id = table.id
      try call.respond(argument)
    } catch {
      context.abort(table)
      throw error
    }
    context.publish(table)
    return 0
  }

  private static func makeTable(
    _ argument: iommu_hwpt_alloc, for device: BoundDevice, _ call: Call
  ) throws(Refusal) -> HardwarePageTable {
    let parent: ContextObject
    do throws(Refusal) {
      parent = try call.context.object(argument.pt_id)
    } catch {
      throw Refusal(.EINVAL, because: "no object has the id given as parent")
    }
    let data = UserData(
      type: argument.data_type, address: argument.data_uptr, byteCount: argument.data_len,
      in: call.caller)
    switch parent {
    case let space as IOAddressSpace:
      return try makePaging(argument.flags, space, device, data)
    case let table as PagingPageTable:
      return try makeNested(argument.flags, table, device, data)
    case let virtualIOMMU as VirtualIOMMUObject:
      return try makeNested(argument.flags, virtualIOMMU, device, data)
    default:
      throw Refusal(.EINVAL, because: "the parent is no space, page table or virtual IOMMU")
    }
  }

  private static func makePaging(
    _ flags: UInt32, _ space: IOAddressSpace, _ device: BoundDevice, _ data: UserData
  ) throws(Refusal) -> HardwarePageTable {
    let known =
      IOMMU_HWPT_ALLOC_NEST_PARENT | IOMMU_HWPT_ALLOC_DIRTY_TRACKING
      | IOMMU_HWPT_FAULT_ID_VALID | IOMMU_HWPT_ALLOC_PASID
    guard flags & ~known == 0 else {
      throw Refusal(.EOPNOTSUPP, because: "a flag is unknown")
    }
    let options = options(flags)
    guard !options.contains(.dirtyTracking) || device.device.isCapable(of: .dirtyTracking) else {
      throw Refusal(.EOPNOTSUPP, because: "the IOMMU cannot track writes")
    }
    let both = IOMMU_HWPT_FAULT_ID_VALID | IOMMU_HWPT_ALLOC_NEST_PARENT
    guard flags & both != both else {
      throw Refusal(.EOPNOTSUPP, because: "a nesting parent cannot report faults")
    }
    return try PagingPageTable.make(for: space, device, options, data.byteCount == 0 ? nil : data)
  }

  private static func makeNested(
    _ flags: UInt32, _ parent: PagingPageTable, _ device: BoundDevice, _ data: UserData
  ) throws(Refusal) -> HardwarePageTable {
    try checkNestedFlags(flags, data)
    guard !parent.isAutomatic, parent.isNestingParent, let domain = parent.pagingDomain,
      domain.owner == ObjectIdentifier(device.device.driver)
    else {
      throw Refusal(.EINVAL, because: "the parent was not made as a nesting parent of this IOMMU")
    }
    return try NestedPageTable.make(on: parent, virtualIOMMU: nil, options(flags)) {
      () throws(DriverError) in
      try device.device.allocateNestedDomain(on: domain, options(flags), data)
    }
  }

  private static func makeNested(
    _ flags: UInt32, _ virtualIOMMU: VirtualIOMMUObject, _ device: BoundDevice, _ data: UserData
  ) throws(Refusal) -> HardwarePageTable {
    guard virtualIOMMU.unit === device.device.unit else {
      throw Refusal(.EINVAL, because: "the device is behind another IOMMU")
    }
    try checkNestedFlags(flags, data)
    return try NestedPageTable.make(
      on: virtualIOMMU.parent, virtualIOMMU: virtualIOMMU, options(flags)
    ) { () throws(DriverError) in
      guard let driver = virtualIOMMU.driver else {
        preconditionFailure("a virtual IOMMU has a driver")
      }
      return try driver.allocateNestedDomain(options(flags), data)
    }
  }

  private static func checkNestedFlags(_ flags: UInt32, _ data: UserData) throws(Refusal) {
    guard flags & ~(IOMMU_HWPT_FAULT_ID_VALID | IOMMU_HWPT_ALLOC_PASID) == 0,
      data.byteCount > 0
    else {
      throw Refusal(
        .EOPNOTSUPP, because: "a nested table needs driver data, and takes no such flag")
    }
  }

  private static func options(_ flags: UInt32) -> DomainOptions {
    var options: DomainOptions = []
    if flags & IOMMU_HWPT_ALLOC_NEST_PARENT != 0 { options.insert(.nestingParent) }
    if flags & IOMMU_HWPT_ALLOC_DIRTY_TRACKING != 0 { options.insert(.dirtyTracking) }
    if flags & IOMMU_HWPT_ALLOC_PASID != 0 { options.insert(.pasid) }
    return options
  }
}
