public import CKernelABI
public import Clients

/// IOMMU_IOAS_COPY: maps elsewhere what is mapped in a space already, on the same pages.
public enum CopyCommand: IoctlCommand {
  public static var number: UInt32 { IOMMUFD_CMD_IOAS_COPY }
  public static var minimumBytes: Int { 40 }
  public static var zero: iommu_ioas_copy { iommu_ioas_copy() }

  public static func execute(
    _ argument: inout iommu_ioas_copy, _ call: Call
  ) throws(Refusal) -> Int64 {
    try MapFlags.check(argument.flags)
    guard argument.length < .max, argument.src_iova < .max, argument.dst_iova < .max else {
      throw Refusal(.EOVERFLOW, because: "an address or length is the largest number")
    }
    let access = try MapFlags.access(argument.flags)
    let source: IOAddressSpace = try call.context.object(argument.src_ioas_id)
    let slices = try source.slices(argument.src_iova, argument.length)
    let destination: IOAddressSpace = try call.context.object(argument.dst_ioas_id)
    argument.dst_iova = try destination.map(
      slices, byteCount: argument.length,
      at: MapFlags.fixed(argument.dst_iova, argument.flags), access: access)
    try call.respond(argument)
    return 0
  }
}
