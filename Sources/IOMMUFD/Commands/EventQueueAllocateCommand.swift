public import CKernelABI
public import Clients

/// IOMMU_VEVENTQ_ALLOC: makes a queue for one type of events of a virtual IOMMU.
public enum EventQueueAllocateCommand: IoctlCommand {
  public static var number: UInt32 { IOMMUFD_CMD_VEVENTQ_ALLOC }
  public static var minimumBytes: Int { 28 }
  public static var zero: iommu_veventq_alloc { iommu_veventq_alloc() }

  private static var largestDepth: UInt32 { 1 << 19 }

  public static func execute(
    _ argument: inout iommu_veventq_alloc, _ call: Call
  ) throws(Refusal) -> Int64 {
    guard argument.flags == 0, argument.reserved == 0,
      argument.type != IOMMU_VEVENTQ_TYPE_DEFAULT
    else {
      throw Refusal(
        .EOPNOTSUPP, because: "a flag or the type is unknown, or a reserved word not zero")
    }
    guard argument.veventq_depth > 0, argument.veventq_depth <= largestDepth else {
      throw Refusal(.EINVAL, because: "the depth is zero or too large")
    }
    let virtualIOMMU: VirtualIOMMUObject = try call.context.object(argument.viommu_id)
    guard !virtualIOMMU.eventQueues.contains(where: { $0.type == argument.type }) else {
      throw Refusal(.EEXIST, because: "the virtual IOMMU has a queue for this type of event")
    }
    let new = try EventQueue.make(
      type: argument.type, depth: Int(argument.veventq_depth), of: virtualIOMMU)
    argument.out_veventq_id = new.queue.id
    do throws(Refusal) {
      try call.respond(argument)
      try call.caller.install(new.file, closeOnExec: true, numberAt: call.address &+ 24)
    } catch {
      new.file.release()
      call.context.abort(new.queue)
      throw error
    }
    call.context.publish(new.queue)
    return 0
  }
}
