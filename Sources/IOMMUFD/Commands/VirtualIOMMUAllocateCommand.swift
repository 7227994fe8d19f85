public import CKernelABI
public import Clients
internal import IOMMUCore

/// IOMMU_VIOMMU_ALLOC: makes a virtual IOMMU on a nesting parent.
public enum VirtualIOMMUAllocateCommand: IoctlCommand {
  public static var number: UInt32 { IOMMUFD_CMD_VIOMMU_ALLOC }
  public static var minimumBytes: Int { 24 }
  public static var zero: iommu_viommu_alloc { iommu_viommu_alloc() }

  public static func execute(
    _ argument: inout iommu_viommu_alloc, _ call: Call
  ) throws(Refusal) -> Int64 {
    guard argument.flags == 0, argument.type != IOMMU_VIOMMU_TYPE_DEFAULT else {
      throw Refusal(.EOPNOTSUPP, because: "a flag or the type is unknown")
    }
    let device: BoundDevice = try call.context.object(argument.dev_id)
    guard device.device.supportsVirtualIOMMU(type: argument.type) else {
      throw Refusal(.EOPNOTSUPP, because: "the IOMMU has no virtual IOMMUs of this type")
    }
    let parent: PagingPageTable = try call.context.object(argument.hwpt_id)
    guard parent.isNestingParent else {
      throw Refusal(.EINVAL, because: "the page table was not made as a nesting parent")
    }
    let data = UserData(
      type: argument.type, address: argument.data_uptr, byteCount: argument.data_len,
      in: call.caller)
    let new = try VirtualIOMMUObject.make(
      type: argument.type, parent: parent, for: device, argument.data_len == 0 ? nil : data)
    argument.out_viommu_id = new.id
    do throws(Refusal) {
      try call.respond(argument)
    } catch {
      call.context.abort(new)
      throw error
    }
    call.context.publish(new)
    return 0
  }
}
