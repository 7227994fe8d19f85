public import CKernelABI
public import Clients
internal import Hardware

/// IOMMU_IOAS_MAP: maps memory of the calling process.
public enum MapCommand: IoctlCommand {
  public static var number: UInt32 { IOMMUFD_CMD_IOAS_MAP }
  public static var minimumBytes: Int { 40 }
  public static var zero: iommu_ioas_map { iommu_ioas_map() }

  public static func execute(
    _ argument: inout iommu_ioas_map, _ call: Call
  ) throws(Refusal) -> Int64 {
    try MapFlags.check(argument.flags, reserved: argument.reserved)
    guard argument.iova < .max, argument.length < .max else {
      throw Refusal(.EOVERFLOW, because: "an address or length is the largest number")
    }
    let access = try MapFlags.access(argument.flags)
    let space: IOAddressSpace = try call.context.object(argument.ioas_id)
    argument.iova = try space.mapProcessMemory(
      argument.user_va, byteCount: argument.length,
      at: MapFlags.fixed(argument.iova, argument.flags), access: access, caller: call.caller)
    try call.respond(argument)
    return 0
  }
}

/// The flags that map, map_file and copy share.
enum MapFlags {
  static func check(_ flags: UInt32, reserved: UInt32 = 0) throws(Refusal) {
    let known =
      IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_WRITEABLE | IOMMU_IOAS_MAP_READABLE
    guard flags & ~known == 0, reserved == 0 else {
      throw Refusal(.EOPNOTSUPP, because: "a flag is unknown or a reserved word not zero")
    }
  }

  static func access(_ flags: UInt32) throws(Refusal) -> Access {
    var access: Access = []
    if flags & IOMMU_IOAS_MAP_READABLE != 0 { access.insert(.read) }
    if flags & IOMMU_IOAS_MAP_WRITEABLE != 0 { access.insert(.write) }
    guard !access.isEmpty else {
      throw Refusal(.EINVAL, because: "neither reading nor writing is asked for")
    }
    return access
  }

  static func fixed(_ iova: UInt64, _ flags: UInt32) -> UInt64? {
    flags & IOMMU_IOAS_MAP_FIXED_IOVA != 0 ? iova : nil
  }
}

extension IOAddressSpace {
  /// Maps memory of the calling process and returns its first IOVA.
  func mapProcessMemory(
    _ address: UInt64, byteCount: UInt64, at iova: UInt64?, access: Access, caller: any Caller
  ) throws(Refusal) -> UInt64 {
    guard !address.addingReportingOverflow(byteCount).overflow else {
      throw Refusal(.EOVERFLOW, because: "the memory does not fit 64 bits")
    }
    let startByte = address % pageBytes
    let pages = try makePages(
      .process(caller.process, address: address - startByte), startByte: startByte,
      byteCount: byteCount, isWritable: access.contains(.write), caller: caller)
    return try map(
      Slice(pages: pages, startByte: startByte, byteCount: byteCount), at: iova, access: access)
  }

  func makePages(
    _ backing: Pages.Backing, startByte: UInt64, byteCount: UInt64, isWritable: Bool,
    caller: any Caller
  ) throws(Refusal) -> Pages {
    guard byteCount > 0, byteCount <= UInt64.max - pageBytes else {
      throw Refusal(.EINVAL, because: "the length is zero or too large")
    }
    try context.failures.step()
    return Pages(
      backing, startByte: startByte, byteCount: byteCount, isWritable: isWritable,
      account: .present(of: caller.process, in: context), in: context.environment)
  }
}
