public import CKernelABI
public import Clients
internal import IOMMUCore

/// IOMMU_HW_QUEUE_ALLOC: gives a queue in guest memory to the hardware behind a virtual IOMMU.
public enum HardwareQueueAllocateCommand: IoctlCommand {
  public static var number: UInt32 { IOMMUFD_CMD_HW_QUEUE_ALLOC }
  public static var minimumBytes: Int { 40 }
  public static var zero: iommu_hw_queue_alloc { iommu_hw_queue_alloc() }

  public static func execute(
    _ argument: inout iommu_hw_queue_alloc, _ call: Call
  ) throws(Refusal) -> Int64 {
    guard argument.flags == 0, argument.type != IOMMU_HW_QUEUE_TYPE_DEFAULT else {
      throw Refusal(.EOPNOTSUPP, because: "a flag or the type is unknown")
    }
    guard argument.length > 0 else { throw Refusal(.EINVAL, because: "the length is zero") }
    guard lastByte(of: argument.nesting_parent_iova, argument.length) != nil else {
      throw Refusal(.EOVERFLOW, because: "the queue does not fit 64 bits")
    }
    let virtualIOMMU: VirtualIOMMUObject = try call.context.object(argument.viommu_id)
    guard virtualIOMMU.driver?.supportsHardwareQueue(type: argument.type) == true else {
      throw Refusal(.EOPNOTSUPP, because: "the virtual IOMMU has no queues of this type")
    }
    let new = try HardwareQueueObject.make(
      .init(
        type: argument.type, index: argument.index, iova: argument.nesting_parent_iova,
        byteCount: argument.length), of: virtualIOMMU)
    argument.out_hw_queue_id = new.id
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
