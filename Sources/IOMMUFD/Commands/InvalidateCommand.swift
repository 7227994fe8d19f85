public import CKernelABI
public import Clients
internal import IOMMUCore

/// IOMMU_HWPT_INVALIDATE: hands an array of a client's invalidations to the driver.
public enum InvalidateCommand: IoctlCommand {
  public static var number: UInt32 { IOMMUFD_CMD_HWPT_INVALIDATE }
  public static var minimumBytes: Int { 32 }
  public static var zero: iommu_hwpt_invalidate { iommu_hwpt_invalidate() }

  /// An array that a single call may bring.
  private static var largestEntryCount: UInt32 { 1 << 19 }
  private static var largestEntryBytes: UInt32 { 4096 }

  public static func execute(
    _ argument: inout iommu_hwpt_invalidate, _ call: Call
  ) throws(Refusal) -> Int64 {
    var done: UInt32 = 0
    var refusal: Refusal?
    do throws(Refusal) {
      let outcome = try invalidate(argument, call)
      done = outcome.done
      refusal = outcome.error.map { Refusal($0) }
    } catch {
      refusal = error
    }
    // The number of entries that were carried out is told in any case.
    argument.entry_num = done
    try call.respond(argument)
    if let refusal { throw refusal }
    return 0
  }

  private static func invalidate(
    _ argument: iommu_hwpt_invalidate, _ call: Call
  ) throws(Refusal) -> (done: UInt32, error: DriverError?) {
    guard argument.reserved == 0 else {
      throw Refusal(.EOPNOTSUPP, because: "a reserved word is not zero")
    }
    guard
      argument.entry_num == 0
        || argument.data_uptr != 0 && argument.entry_len > 0
          && argument.entry_len <= largestEntryBytes && argument.entry_num <= largestEntryCount
    else { throw Refusal(.EINVAL, because: "the array has no place, or no sensible size") }
    let entries = UserDataArray(
      type: argument.data_type, address: argument.data_uptr, entryBytes: argument.entry_len,
      entryCount: argument.entry_num, in: call.caller)
    let target: ContextObject = try call.context.object(argument.hwpt_id)
    switch target {
    case let table as NestedPageTable:
      guard let domain = table.nestedDomain else { preconditionFailure("a table has a domain") }
      return domain.invalidate(entries)
    case let virtualIOMMU as VirtualIOMMUObject:
      guard let driver = virtualIOMMU.driver else {
        preconditionFailure("a virtual IOMMU has a driver")
      }
      return driver.invalidate(entries)
    default:
      throw Refusal(.EINVAL, because: "the object is neither a nested table nor a virtual IOMMU")
    }
  }
}
