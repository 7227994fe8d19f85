public import CKernelABI
public import Clients

/// IOMMU_IOAS_NOIOMMU_GET_PA: the physical address behind an IOVA, for devices without an IOMMU.
/// The machine has none, as a kernel built without VFIO's no-IOMMU mode.
public enum PhysicalAddressCommand: IoctlCommand {
  public static var number: UInt32 { IOMMUFD_CMD_IOAS_NOIOMMU_GET_PA }
  public static var minimumBytes: Int { 40 }
  public static var zero: iommu_ioas_noiommu_get_pa { iommu_ioas_noiommu_get_pa() }

  public static func execute(
    _ argument: inout iommu_ioas_noiommu_get_pa, _ call: Call
  ) throws(Refusal) -> Int64 {
    throw Refusal(.EOPNOTSUPP, because: "no device of the machine is without an IOMMU")
  }
}
