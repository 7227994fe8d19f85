internal import CKernelABI

/// Page tables, hardware information and fault queues.
enum TableCommands {
  /// Types that drivers give to their data. Only the mock's are in our headers.
  private static let domainData = [
    NamedValue(value: 0, name: "NONE"), NamedValue(value: 1, name: "VTD_S1"),
    NamedValue(value: 2, name: "ARM_SMMUV3"), NamedValue(value: 3, name: "AMD_GUEST"),
    NamedValue(value: UInt64(IOMMU_HWPT_DATA_SELFTEST), name: "SELFTEST"),
  ]
  private static let hardwareInfo = [
    NamedValue(value: 0, name: "NONE"), NamedValue(value: 1, name: "INTEL_VTD"),
    NamedValue(value: 2, name: "ARM_SMMUV3"), NamedValue(value: 3, name: "TEGRA241_CMDQV"),
    NamedValue(value: 4, name: "AMD"),
    NamedValue(value: UInt64(IOMMU_HW_INFO_TYPE_SELFTEST), name: "SELFTEST"),
  ]
  private static let invalidation = [
    NamedValue(value: 0, name: "VTD_S1"), NamedValue(value: 1, name: "ARM_SMMUV3"),
    NamedValue(value: UInt64(IOMMU_HWPT_INVALIDATE_DATA_SELFTEST), name: "SELFTEST"),
  ]
  private static let capabilities = names(
    (IOMMU_HW_CAP_DIRTY_TRACKING, "DIRTY_TRACKING"),
    (IOMMU_HW_CAP_PCI_PASID_EXEC, "PCI_PASID_EXEC"),
    (IOMMU_HW_CAP_PCI_PASID_PRIV, "PCI_PASID_PRIV"),
    (IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED, "PCI_ATS_NOT_SUPPORTED"))

  static let layouts: [UInt32: CommandLayout] = [
    IOMMUFD_CMD_HWPT_ALLOC: .structure(
      "IOMMU_HWPT_ALLOC", iommu_hwpt_alloc.self,
      [
        .input("dev", \.dev_id, .number),
        .input("pt", \.pt_id, .number),
        .option(
          "flags", \.flags,
          .flags(
            names(
              (IOMMU_HWPT_ALLOC_NEST_PARENT, "NEST_PARENT"),
              (IOMMU_HWPT_ALLOC_DIRTY_TRACKING, "DIRTY_TRACKING"),
              (IOMMU_HWPT_FAULT_ID_VALID, "FAULT_ID_VALID"), (IOMMU_HWPT_ALLOC_PASID, "PASID")))),
        .field("type", \.data_type, .choice(domainData), [.input, .unlessZero]),
        .option("data_len", \.data_len, .length),
        .option("data", \.data_uptr, .address),
        .input("fault", \.fault_id, .number, when: .has(\.flags, IOMMU_HWPT_FAULT_ID_VALID)),
        .output("hwpt", \.out_hwpt_id, .number),
      ]),
    IOMMUFD_CMD_GET_HW_INFO: .structure(
      "IOMMU_GET_HW_INFO", iommu_hw_info.self,
      [
        .input("dev", \.dev_id, .number),
        .option("flags", \.flags, .flags(names((IOMMU_HW_INFO_FLAG_INPUT_TYPE, "INPUT_TYPE")))),
        .input(
          "type", \.data_type, .choice(hardwareInfo),
          when: .has(\.flags, IOMMU_HW_INFO_FLAG_INPUT_TYPE)),
        .input("data_len", \.data_len, .length),
        .input("data", \.data_uptr, .address),
        .output("data_len", \.data_len, .length),
        .output("type", \.data_type, .choice(hardwareInfo)),
        .output("pasid_bits", \.out_max_pasid_log2, .number),
        .output("capabilities", \.out_capabilities, .flags(capabilities)),
      ]),
    IOMMUFD_CMD_HWPT_SET_DIRTY_TRACKING: .structure(
      "IOMMU_HWPT_SET_DIRTY_TRACKING", iommu_hwpt_set_dirty_tracking.self,
      [
        .input("hwpt", \.hwpt_id, .number),
        .input("flags", \.flags, .flags(names((IOMMU_HWPT_DIRTY_TRACKING_ENABLE, "ENABLE")))),
      ]),
    IOMMUFD_CMD_HWPT_GET_DIRTY_BITMAP: .structure(
      "IOMMU_HWPT_GET_DIRTY_BITMAP", iommu_hwpt_get_dirty_bitmap.self,
      [
        .input("hwpt", \.hwpt_id, .number),
        .input("iova", \.iova, .address),
        .input("len", \.length, .length),
        .input("page_size", \.page_size, .length),
        .option(
          "flags", \.flags, .flags(names((IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR, "NO_CLEAR")))),
        .input("bitmap", \.data, .address),
      ]),
    IOMMUFD_CMD_HWPT_INVALIDATE: .structure(
      "IOMMU_HWPT_INVALIDATE", iommu_hwpt_invalidate.self,
      [
        .input("hwpt", \.hwpt_id, .number),
        .input("type", \.data_type, .choice(invalidation)),
        .input("entry_len", \.entry_len, .number),
        .input("count", \.entry_num, .number),
        .input("entries", \.data_uptr, .address),
        .field("done", \.entry_num, .number, [.output, .outputOfRefused]),
      ]),
    IOMMUFD_CMD_FAULT_QUEUE_ALLOC: .structure(
      "IOMMU_FAULT_QUEUE_ALLOC", iommu_fault_alloc.self,
      [
        .option("flags", \.flags, .flags([])),
        .output("fault", \.out_fault_id, .number),
        .output("fd", \.out_fault_fd, .newDescriptor),
      ]),
  ]
}

/// What goes through a fault queue.
enum QueueRecords {
  static let pageFault = RecordLayout(
    iommu_hwpt_pgfault.self,
    [
      .input("dev", \.dev_id, .number),
      .input("pasid", \.pasid, .number, when: .has(\.flags, IOMMU_PGFAULT_FLAGS_PASID_VALID)),
      .input("group", \.grpid, .number),
      .input(
        "flags", \.flags,
        .flags(
          names(
            (IOMMU_PGFAULT_FLAGS_PASID_VALID, "PASID_VALID"),
            (IOMMU_PGFAULT_FLAGS_LAST_PAGE, "LAST_PAGE")))),
      .input(
        "perm", \.perm,
        .flags(
          names(
            (IOMMU_PGFAULT_PERM_READ, "R"), (IOMMU_PGFAULT_PERM_WRITE, "W"),
            (IOMMU_PGFAULT_PERM_EXEC, "X"), (IOMMU_PGFAULT_PERM_PRIV, "PRIV")))),
      .input("addr", \.addr, .address),
      .field("len", \.length, .length, [.input, .unlessZero]),
      .input("cookie", \.cookie, .number),
    ])

  static let pageResponse = RecordLayout(
    iommu_hwpt_page_response.self,
    [
      .input("cookie", \.cookie, .number),
      .input(
        "code", \.code,
        .choice(
          names((IOMMUFD_PAGE_RESP_SUCCESS, "SUCCESS"), (IOMMUFD_PAGE_RESP_INVALID, "INVALID")))),
    ])
}
