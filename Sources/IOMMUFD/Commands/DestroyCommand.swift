public import CKernelABI
public import Clients

/// IOMMU_DESTROY: removes an object that nothing else uses.
public enum DestroyCommand: IoctlCommand {
  public static var number: UInt32 { IOMMUFD_CMD_DESTROY }
  public static var minimumBytes: Int { 8 }
  public static var zero: iommu_destroy { iommu_destroy() }

  public static func execute(
    _ argument: inout iommu_destroy, _ call: Call
  ) throws(Refusal) -> Int64 {
    try call.context.destroy(argument.id)
    return 0
  }
}
