public import CKernelABI
public import Clients
public import IOMMUFD
internal import Mock

/// IOMMU_TEST_CMD: the private command by which tests play device and look behind the interface
/// (kernel: drivers/iommu/iommufd/selftest.c).
public enum TestCommand: IoctlCommand {
  public static var number: UInt32 { IOMMUFD_CMD_TEST }
  public static var minimumBytes: Int { 68 }
  public static var zero: iommu_test_cmd { iommu_test_cmd() }

  public static func execute(
    _ argument: inout iommu_test_cmd, _ call: Call
  ) throws(Refusal) -> Int64 {
    guard let operation = operations[argument.op] else {
      throw Refusal(.EOPNOTSUPP, because: "the test operation is unknown")
    }
    return try operation(&argument, call)
  }

  typealias Operation =
    @Sendable (_ argument: inout iommu_test_cmd, _ call: Call) throws(Refusal) -> Int64

  /// Every operation there is, by number.
  private static let operations: [UInt32: Operation] = [
    IOMMU_TEST_OP_ADD_RESERVED: addReserved,
    IOMMU_TEST_OP_MOCK_DOMAIN: makeDevice,
    IOMMU_TEST_OP_MOCK_DOMAIN_FLAGS: makeDevice,
    IOMMU_TEST_OP_MOCK_DOMAIN_REPLACE: replaceTable,
    IOMMU_TEST_OP_MD_CHECK_MAP: checkTranslations,
    IOMMU_TEST_OP_MD_CHECK_REFS: checkPins,
    IOMMU_TEST_OP_MD_CHECK_IOTLB: checkNestedCache,
    IOMMU_TEST_OP_DEV_CHECK_CACHE: checkDeviceCache,
    IOMMU_TEST_OP_CREATE_ACCESS: createAccess,
    IOMMU_TEST_OP_ACCESS_REPLACE_IOAS: replaceAccessSpace,
    IOMMU_TEST_OP_ACCESS_PAGES: pinPages,
    IOMMU_TEST_OP_DESTROY_ACCESS_PAGES: unpinPages,
    IOMMU_TEST_OP_ACCESS_RW: copyByAccess,
    IOMMU_TEST_OP_SET_TEMP_MEMORY_LIMIT: setMemoryLimit,
    IOMMU_TEST_OP_DIRTY: writeAsDevice,
    IOMMU_TEST_OP_TRIGGER_IOPF: requestPage,
    IOMMU_TEST_OP_TRIGGER_VEVENT: raiseEvent,
    IOMMU_TEST_OP_PASID_ATTACH: attachPASID,
    IOMMU_TEST_OP_PASID_REPLACE: replacePASID,
    IOMMU_TEST_OP_PASID_DETACH: detachPASID,
    IOMMU_TEST_OP_PASID_CHECK_HWPT: checkPASID,
    IOMMU_TEST_OP_DMABUF_GET: exportBuffer,
    IOMMU_TEST_OP_DMABUF_REVOKE: revokeBuffer,
  ]
}

extension TestCommand {
  /// IOMMU_TEST_OP_ADD_RESERVED: takes IOVAs of a space away, as a device would.
  @Sendable static func addReserved(
    _ argument: inout iommu_test_cmd, _ call: Call
  ) throws(Refusal) -> Int64 {
    let range = unsafe argument.arguments.add_reserved
    guard range.length > 0 else { throw Refusal(.EINVAL, because: "the length is zero") }
    let (last, overflow) = range.start.addingReportingOverflow(range.length - 1)
    guard !overflow else { throw Refusal(.EOVERFLOW, because: "the range does not fit 64 bits") }
    let space: IOAddressSpace = try call.context.object(argument.id)
    try space.reserve(range.start...last, owner: nil)
    return 0
  }

  /// IOMMU_TEST_OP_SET_TEMP_MEMORY_LIMIT: bounds the kernel's scratch memory. Ours has none that a
  /// limit could change, so that only the check is left.
  @Sendable static func setMemoryLimit(
    _ argument: inout iommu_test_cmd, _ call: Call
  ) throws(Refusal) -> Int64 {
    guard unsafe argument.arguments.memory_limit.limit >= 12 else {
      throw Refusal(.EINVAL, because: "the limit has no room for one entry")
    }
    return 0
  }
}
