public import CKernelABI
public import Clients

/// IOMMU_IOAS_ALLOC: makes an empty address space.
public enum SpaceAllocateCommand: IoctlCommand {
  public static var number: UInt32 { IOMMUFD_CMD_IOAS_ALLOC }
  public static var minimumBytes: Int { 12 }
  public static var zero: iommu_ioas_alloc { iommu_ioas_alloc() }

  public static func execute(
    _ argument: inout iommu_ioas_alloc, _ call: Call
  ) throws(Refusal) -> Int64 {
    guard argument.flags == 0 else {
      throw Refusal(.EOPNOTSUPP, because: "a flag is unknown")
    }
    let space = try call.context.reserve(IOAddressSpace(in: call.context))
    argument.out_ioas_id = space.id
    do throws(Refusal) {
      try call.respond(argument)
    } catch {
      call.context.abort(space)
      throw error
    }
    call.context.publish(space)
    return 0
  }
}
