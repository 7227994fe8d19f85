public import CKernelABI
public import Clients

/// IOMMU_VFIO_IOAS: reads, sets or clears the space that VFIO's own commands work on.
public enum CompatibilitySpaceCommand: IoctlCommand {
  public static var number: UInt32 { IOMMUFD_CMD_VFIO_IOAS }
  public static var minimumBytes: Int { 12 }
  public static var zero: iommu_vfio_ioas { iommu_vfio_ioas() }

  public static func execute(
    _ argument: inout iommu_vfio_ioas, _ call: Call
  ) throws(Refusal) -> Int64 {
    guard argument.reserved == 0 else {
      throw Refusal(.EOPNOTSUPP, because: "a reserved word is not zero")
    }
    switch argument.op {
    case IOMMU_VFIO_IOAS_GET:
      argument.ioas_id = try call.context.requireCompatibilitySpace().id
      try call.respond(argument)
    case IOMMU_VFIO_IOAS_SET:
      call.context.compatibilitySpace = try call.context.object(argument.ioas_id)
    case IOMMU_VFIO_IOAS_CLEAR:
      call.context.compatibilitySpace = nil
    default:
      throw Refusal(.EOPNOTSUPP, because: "the operation is unknown")
    }
    return 0
  }
}
