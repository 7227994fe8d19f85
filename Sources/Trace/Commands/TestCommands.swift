internal import CKernelABI

/// The test command, by its operation.
enum TestCommands {
  /// What an operation does with the id in front of its own fields.
  private enum Identity: String {
    case ioas
    case hwpt
    case device = "dev"
    case mockDevice = "stdev"
    case access = "access_fd"
    case none
  }

  static func layout(_ argument: ByteWindow) -> CommandLayout {
    let known = argument.number(at: operation.place).flatMap { layouts[UInt32($0)] }
    return known ?? unknown
  }

  private static let operation = FieldOf<iommu_test_cmd>.input("op", \.op, .number).field
  private static let unknown = CommandLayout.structure(
    "IOMMU_TEST_CMD", iommu_test_cmd.self,
    [.input("op", \.op, .number), .input("id", \.id, .number)])

  private static func layout<Structure>(
    _ name: String, _ identity: Identity, _: Structure.Type, _ fields: [FieldOf<Structure>]
  ) -> CommandLayout {
    let first = FieldOf<iommu_test_cmd>.input(identity.rawValue, \.id, .number).field
    guard let start = MemoryLayout<iommu_test_cmd>.offset(of: \.arguments) else {
      preconditionFailure("a field of a C structure has an offset")
    }
    return CommandLayout(
      name: "IOMMU_TEST_OP_" + name,
      argument: .structure(
        byteCount: MemoryLayout<iommu_test_cmd>.size,
        (identity == .none ? [] : [first]) + fields.map { $0.field.moved(by: start) }))
  }

  private static let deviceFlags = names(
    (MOCK_FLAGS_DEVICE_NO_DIRTY, "NO_DIRTY"), (MOCK_FLAGS_DEVICE_PASID, "PASID"))
  private static let pagesFlags = names(
    (MOCK_FLAGS_ACCESS_WRITE, "WRITE"), (MOCK_FLAGS_ACCESS_SYZ, "SYZ"))
  private static let copyFlags = names(
    (MOCK_ACCESS_RW_WRITE, "WRITE"), (MOCK_ACCESS_RW_SLOW_PATH, "SLOW_PATH"),
    (MOCK_FLAGS_ACCESS_SYZ, "SYZ"))
  private static let accessFlags = names(
    (MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES, "NEEDS_PIN_PAGES"))

  private static let layouts = domainLayouts.merging(accessLayouts) { first, _ in first }
    .merging(deviceLayouts) { first, _ in first }

  /// Mock devices, page tables and memory.
  private static let domainLayouts: [UInt32: CommandLayout] = [
    IOMMU_TEST_OP_ADD_RESERVED: layout(
      "ADD_RESERVED", .ioas, iommu_test_add_reserved.self,
      [.input("start", \.start, .address), .input("len", \.length, .length)]),
    IOMMU_TEST_OP_MOCK_DOMAIN: layout(
      "MOCK_DOMAIN", .ioas, iommu_test_mock_domain.self,
      [
        .output("stdev", \.out_stdev_id, .number), .output("hwpt", \.out_hwpt_id, .number),
        .output("dev", \.out_idev_id, .number),
      ]),
    IOMMU_TEST_OP_MOCK_DOMAIN_FLAGS: layout(
      "MOCK_DOMAIN_FLAGS", .ioas, iommu_test_mock_domain_flags.self,
      [
        .input("flags", \.dev_flags, .flags(deviceFlags)),
        .output("stdev", \.out_stdev_id, .number), .output("hwpt", \.out_hwpt_id, .number),
        .output("dev", \.out_idev_id, .number),
      ]),
    IOMMU_TEST_OP_MOCK_DOMAIN_REPLACE: layout(
      "MOCK_DOMAIN_REPLACE", .mockDevice, iommu_test_mock_domain_replace.self,
      [.input("pt", \.pt_id, .number), .output("hwpt", \.pt_id, .number)]),
    IOMMU_TEST_OP_MD_CHECK_MAP: layout(
      "MD_CHECK_MAP", .hwpt, iommu_test_check_map.self,
      [
        .input("iova", \.iova, .address), .input("len", \.length, .length),
        .input("va", \.uptr, .address),
      ]),
    IOMMU_TEST_OP_MD_CHECK_REFS: layout(
      "MD_CHECK_REFS", .none, iommu_test_check_refs.self,
      [
        .input("va", \.uptr, .address), .input("len", \.length, .length),
        .input("refs", \.refs, .number),
      ]),
    IOMMU_TEST_OP_MD_CHECK_IOTLB: layout(
      "MD_CHECK_IOTLB", .hwpt, iommu_test_check_iotlb.self,
      [.input("word", \.id, .number), .input("iotlb", \.iotlb, .word)]),
    IOMMU_TEST_OP_DIRTY: layout(
      "DIRTY", .hwpt, iommu_test_dirty.self,
      [
        .option("flags", \.flags, .flags([])), .input("iova", \.iova, .address),
        .input("len", \.length, .length), .input("page_size", \.page_size, .length),
        .input("bitmap", \.uptr, .address), .output("dirty", \.out_nr_dirty, .number),
      ]),
    IOMMU_TEST_OP_SET_TEMP_MEMORY_LIMIT: layout(
      "SET_TEMP_MEMORY_LIMIT", .none, iommu_test_memory_limit.self,
      [.input("limit", \.limit, .length)]),
    IOMMU_TEST_OP_DMABUF_GET: layout(
      "DMABUF_GET", .none, iommu_test_dmabuf_get.self,
      [.input("len", \.length, .length), .input("open_flags", \.open_flags, .word)]),
    IOMMU_TEST_OP_DMABUF_REVOKE: layout(
      "DMABUF_REVOKE", .none, iommu_test_dmabuf_revoke.self,
      [.input("fd", \.dmabuf_fd, .descriptor), .input("revoked", \.revoked, .number)]),
  ]

  /// Accesses from inside the kernel.
  private static let accessLayouts: [UInt32: CommandLayout] = [
    IOMMU_TEST_OP_CREATE_ACCESS: layout(
      "CREATE_ACCESS", .ioas, iommu_test_create_access.self,
      [
        .option("flags", \.flags, .flags(accessFlags)),
        .output("access_fd", \.out_access_fd, .newDescriptor),
      ]),
    IOMMU_TEST_OP_DESTROY_ACCESS_PAGES: layout(
      "DESTROY_ACCESS_PAGES", .access, iommu_test_destroy_access_pages.self,
      [.input("pages", \.access_pages_id, .number)]),
    IOMMU_TEST_OP_ACCESS_PAGES: layout(
      "ACCESS_PAGES", .access, iommu_test_access_pages.self,
      [
        .input("iova", \.iova, .address), .input("len", \.length, .length),
        .input("va", \.uptr, .address), .option("flags", \.flags, .flags(pagesFlags)),
        .output("pages", \.out_access_pages_id, .number),
      ]),
    IOMMU_TEST_OP_ACCESS_RW: layout(
      "ACCESS_RW", .access, iommu_test_access_rw.self,
      [
        .input("iova", \.iova, .address), .input("len", \.length, .length),
        .input("va", \.uptr, .address), .option("flags", \.flags, .flags(copyFlags)),
      ]),
    IOMMU_TEST_OP_ACCESS_REPLACE_IOAS: layout(
      "ACCESS_REPLACE_IOAS", .access, iommu_test_access_replace_ioas.self,
      [.input("ioas", \.ioas_id, .number)]),
  ]

  /// Faults, events, caches and PASIDs of mock devices.
  private static let deviceLayouts: [UInt32: CommandLayout] = [
    IOMMU_TEST_OP_TRIGGER_IOPF: layout(
      "TRIGGER_IOPF", .none, iommu_test_trigger_iopf.self,
      [
        .input("dev", \.dev_id, .number), .option("pasid", \.pasid, .number),
        .input("group", \.grpid, .number), .input("perm", \.perm, .word),
        .input("addr", \.addr, .address),
      ]),
    IOMMU_TEST_OP_TRIGGER_VEVENT: layout(
      "TRIGGER_VEVENT", .none, iommu_test_trigger_vevent.self,
      [.input("dev", \.dev_id, .number)]),
    IOMMU_TEST_OP_DEV_CHECK_CACHE: layout(
      "DEV_CHECK_CACHE", .device, iommu_test_check_dev_cache.self,
      [.input("word", \.id, .number), .input("cache", \.cache, .word)]),
    IOMMU_TEST_OP_PASID_ATTACH: layout(
      "PASID_ATTACH", .mockDevice, iommu_test_pasid_attach.self,
      [
        .input("pasid", \.pasid, .number), .input("pt", \.pt_id, .number),
        .output("hwpt", \.pt_id, .number),
      ]),
    IOMMU_TEST_OP_PASID_REPLACE: layout(
      "PASID_REPLACE", .mockDevice, iommu_test_pasid_replace.self,
      [
        .input("pasid", \.pasid, .number), .input("pt", \.pt_id, .number),
        .output("hwpt", \.pt_id, .number),
      ]),
    IOMMU_TEST_OP_PASID_DETACH: layout(
      "PASID_DETACH", .mockDevice, iommu_test_pasid_detach.self,
      [.input("pasid", \.pasid, .number)]),
    IOMMU_TEST_OP_PASID_CHECK_HWPT: layout(
      "PASID_CHECK_HWPT", .mockDevice, iommu_test_pasid_check.self,
      [.input("pasid", \.pasid, .number), .input("hwpt", \.hwpt_id, .number)]),
  ]
}
