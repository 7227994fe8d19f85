public import CKernelABI
public import Clients

/// IOMMU_IOAS_CHANGE_PROCESS: moves the account of all file mappings to the calling process, which
/// took the context over.
public enum ChangeProcessCommand: IoctlCommand {
  public static var number: UInt32 { IOMMUFD_CMD_IOAS_CHANGE_PROCESS }
  public static var minimumBytes: Int { 8 }
  public static var zero: iommu_ioas_change_process { iommu_ioas_change_process() }

  public static func execute(
    _ argument: inout iommu_ioas_change_process, _ call: Call
  ) throws(Refusal) -> Int64 {
    guard argument.reserved == 0 else {
      throw Refusal(.EOPNOTSUPP, because: "a reserved word is not zero")
    }
    try call.context.failures.step()
    var seen: Set<ObjectIdentifier> = []
    var moving: [Pages] = []
    for case let space as IOAddressSpace in call.context.objects.objects {
      try space.forEachArea { (area) throws(Refusal) in
        guard area.pages.isFile else {
          throw Refusal(.EINVAL, because: "memory of a process is mapped, which cannot move")
        }
        if seen.insert(ObjectIdentifier(area.pages)).inserted { moving.append(area.pages) }
      }
    }
    try move(moving, to: call.caller.process)
    return 0
  }

  private static func move(
    _ pages: [Pages], to process: any ClientProcess
  ) throws(Refusal) {
    for (index, page) in pages.enumerated() {
      do throws(Refusal) {
        try page.move(to: process)
      } catch {
        // Each goes back to where it came from: that process had room for it.
        for done in pages[..<index] { done.moveBack() }
        throw error
      }
    }
    for page in pages { page.settle() }
  }
}
