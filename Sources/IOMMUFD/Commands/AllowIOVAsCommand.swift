public import CKernelABI
public import Clients

/// IOMMU_IOAS_ALLOW_IOVAS: names the IOVAs that must stay usable whatever device comes.
public enum AllowIOVAsCommand: IoctlCommand {
  public static var number: UInt32 { IOMMUFD_CMD_IOAS_ALLOW_IOVAS }
  public static var minimumBytes: Int { 24 }
  public static var zero: iommu_ioas_allow_iovas { iommu_ioas_allow_iovas() }

  public static func execute(
    _ argument: inout iommu_ioas_allow_iovas, _ call: Call
  ) throws(Refusal) -> Int64 {
    guard argument.reserved == 0 else {
      throw Refusal(.EOPNOTSUPP, because: "a reserved word is not zero")
    }
    let space: IOAddressSpace = try call.context.object(argument.ioas_id)
    var ranges = AllowedRanges()
    for index in 0..<UInt64(argument.num_iovas) {
      let range = try call.caller.load(
        iommu_iova_range.self, at: argument.allowed_iovas &+ index * 16, zero: iommu_iova_range())
      guard range.start < range.last else {
        throw Refusal(.EINVAL, because: "a range ends before its second byte")
      }
      guard ranges.add(range.start...range.last) else {
        throw Refusal(.EINVAL, because: "two ranges overlap")
      }
      try call.context.failures.step()
    }
    try space.setAllowed(ranges)
    return 0
  }
}
