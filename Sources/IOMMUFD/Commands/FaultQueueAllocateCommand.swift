public import CKernelABI
public import Clients

/// IOMMU_FAULT_QUEUE_ALLOC: makes a queue for page requests, and a descriptor to read it by.
public enum FaultQueueAllocateCommand: IoctlCommand {
  public static var number: UInt32 { IOMMUFD_CMD_FAULT_QUEUE_ALLOC }
  public static var minimumBytes: Int { 16 }
  public static var zero: iommu_fault_alloc { iommu_fault_alloc() }

  public static func execute(
    _ argument: inout iommu_fault_alloc, _ call: Call
  ) throws(Refusal) -> Int64 {
    guard argument.flags == 0 else {
      throw Refusal(.EOPNOTSUPP, because: "a flag is unknown")
    }
    let new = try FaultQueue.make(in: call.context)
    argument.out_fault_id = new.queue.id
    do throws(Refusal) {
      try call.respond(argument)
      try call.caller.install(new.file, closeOnExec: true, numberAt: call.address &+ 12)
    } catch {
      new.file.release()
      call.context.abort(new.queue)
      throw error
    }
    call.context.publish(new.queue)
    return 0
  }
}
