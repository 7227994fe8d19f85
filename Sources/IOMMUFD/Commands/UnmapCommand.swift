public import CKernelABI
public import Clients

/// IOMMU_IOAS_UNMAP: removes whole mappings that lie inside a range, and answers with their size.
public enum UnmapCommand: IoctlCommand {
  public static var number: UInt32 { IOMMUFD_CMD_IOAS_UNMAP }
  public static var minimumBytes: Int { 24 }
  public static var zero: iommu_ioas_unmap { iommu_ioas_unmap() }

  public static func execute(
    _ argument: inout iommu_ioas_unmap, _ call: Call
  ) throws(Refusal) -> Int64 {
    let space: IOAddressSpace = try call.context.object(argument.ioas_id)
    let everything = argument.iova == 0 && argument.length == .max
    let last: UInt64
    if everything {
      last = .max
    } else {
      last = try checkedLast(argument)
    }
    do throws(IOAddressSpace.PartialUnmap) {
      argument.length = try space.unmap(argument.iova, through: last)
    } catch {
      throw error.refusal
    }
    guard everything || argument.length > 0 else {
      throw Refusal(.ENOENT, because: "nothing is mapped there")
    }
    try call.respond(argument)
    return 0
  }

  private static func checkedLast(_ argument: iommu_ioas_unmap) throws(Refusal) -> UInt64 {
    guard argument.iova < .max, argument.length < .max else {
      throw Refusal(.EOVERFLOW, because: "an address or length is the largest number")
    }
    guard argument.length > 0 else { throw Refusal(.EINVAL, because: "the length is zero") }
    guard let last = lastByte(of: argument.iova, argument.length) else {
      throw Refusal(.EOVERFLOW, because: "the range does not fit 64 bits")
    }
    return last
  }
}
