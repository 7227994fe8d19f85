public import CKernelABI
public import Clients

/// IOMMU_IOAS_IOVA_RANGES: lists what may be mapped.
public enum IOVARangesCommand: IoctlCommand {
  public static var number: UInt32 { IOMMUFD_CMD_IOAS_IOVA_RANGES }
  public static var minimumBytes: Int { 32 }
  public static var zero: iommu_ioas_iova_ranges { iommu_ioas_iova_ranges() }

  public static func execute(
    _ argument: inout iommu_ioas_iova_ranges, _ call: Call
  ) throws(Refusal) -> Int64 {
    guard argument.reserved == 0 else {
      throw Refusal(.EOPNOTSUPP, because: "a reserved word is not zero")
    }
    let space: IOAddressSpace = try call.context.object(argument.ioas_id)
    let room = argument.num_iovas
    argument.out_iova_alignment = space.alignment
    var holes: [ClosedRange<UInt64>] = []
    space.reserved.forEachHole(in: 0...(.max)) {
      holes.append($0)
      return true
    }
    for (index, hole) in holes.prefix(Int(room)).enumerated() {
      try call.caller.store(
        iommu_iova_range(start: hole.lowerBound, last: hole.upperBound),
        at: argument.allowed_iovas &+ UInt64(index) * 16)
    }
    argument.num_iovas = UInt32(holes.count)
    try call.respond(argument)
    guard holes.count <= room else {
      throw Refusal(.EMSGSIZE, because: "there are more ranges than the array has room for")
    }
    return 0
  }
}
