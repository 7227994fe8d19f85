public import CKernelABI
public import Clients

/// IOMMU_OPTION: reads and sets how locked memory is counted, and whether leaves may be large.
public enum OptionCommand: IoctlCommand {
  public static var number: UInt32 { IOMMUFD_CMD_OPTION }
  public static var minimumBytes: Int { 24 }
  public static var zero: iommu_option { iommu_option() }

  public static func execute(
    _ argument: inout iommu_option, _ call: Call
  ) throws(Refusal) -> Int64 {
    guard argument.reserved == 0 else {
      throw Refusal(.EOPNOTSUPP, because: "a reserved word is not zero")
    }
    switch argument.option_id {
    case IOMMU_OPTION_RLIMIT_MODE:
      try accounting(&argument, call)
    case IOMMU_OPTION_HUGE_PAGES:
      try largePages(&argument, call)
    default:
      throw Refusal(.EOPNOTSUPP, because: "the option is unknown")
    }
    try call.caller.store(argument.val64, at: call.address &+ 16)
    return 0
  }

  private static func accounting(
    _ argument: inout iommu_option, _ call: Call
  ) throws(Refusal) {
    guard argument.object_id == 0 else {
      throw Refusal(.EOPNOTSUPP, because: "the option belongs to the context, not to an object")
    }
    switch argument.op {
    case IOMMU_OPTION_OP_GET:
      argument.val64 = call.context.accounting == .process ? 1 : 0
    case IOMMU_OPTION_OP_SET:
      guard call.caller.process.has(.administerResources) else {
        throw Refusal(.EPERM, because: "the process lacks CAP_SYS_RESOURCE")
      }
      guard call.context.objects.isEmpty else {
        throw Refusal(.EBUSY, because: "the context has objects already")
      }
      switch argument.val64 {
      case 0: call.context.accounting = .user
      case 1: call.context.accounting = .process
      default: throw Refusal(.EINVAL, because: "the value is neither 0 nor 1")
      }
    default:
      throw Refusal(.EOPNOTSUPP, because: "the operation is unknown")
    }
  }

  private static func largePages(
    _ argument: inout iommu_option, _ call: Call
  ) throws(Refusal) {
    let space: IOAddressSpace = try call.context.object(argument.object_id)
    switch (argument.op, argument.val64) {
    case (IOMMU_OPTION_OP_GET, _): argument.val64 = space.largePagesDisabled ? 0 : 1
    case (IOMMU_OPTION_OP_SET, 0): try space.disableLargePages()
    case (IOMMU_OPTION_OP_SET, 1): space.enableLargePages()
    case (IOMMU_OPTION_OP_SET, _):
      throw Refusal(.EINVAL, because: "the value is neither 0 nor 1")
    default:
      throw Refusal(.EOPNOTSUPP, because: "the operation is unknown")
    }
  }
}
