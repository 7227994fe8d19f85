public import CKernelABI
public import Clients
internal import Hardware
internal import IOMMUCore

/// IOMMU_HWPT_SET_DIRTY_TRACKING: starts or stops the recording of writes.
public enum SetDirtyTrackingCommand: IoctlCommand {
  public static var number: UInt32 { IOMMUFD_CMD_HWPT_SET_DIRTY_TRACKING }
  public static var minimumBytes: Int { 16 }
  public static var zero: iommu_hwpt_set_dirty_tracking { iommu_hwpt_set_dirty_tracking() }

  public static func execute(
    _ argument: inout iommu_hwpt_set_dirty_tracking, _ call: Call
  ) throws(Refusal) -> Int64 {
    guard argument.flags & ~IOMMU_HWPT_DIRTY_TRACKING_ENABLE == 0 else {
      throw Refusal(.EOPNOTSUPP, because: "a flag is unknown")
    }
    let table: PagingPageTable = try call.context.object(argument.hwpt_id)
    guard let domain = table.pagingDomain, domain.hasDirtyTracking else {
      throw Refusal(.EOPNOTSUPP, because: "the page table was made without dirty tracking")
    }
    let enabled = argument.flags & IOMMU_HWPT_DIRTY_TRACKING_ENABLE != 0
    // What was written before is not reported: the first look begins clean.
    if enabled { try table.space.clearDirty(in: domain) }
    try asRefusal { () throws(DriverError) in try domain.setDirtyTracking(enabled) }
    return 0
  }
}

extension IOAddressSpace {
  fileprivate func clearDirty(in domain: PagingDomain) throws(Refusal) {
    try forEachArea { (area) throws(Refusal) in
      try asRefusal { () throws(DriverError) in
        try domain.readDirty(
          IOVirtualAddress(area.iova), byteCount: area.byteCount, clear: true
        ) { _, _ in }
      }
    }
  }
}
