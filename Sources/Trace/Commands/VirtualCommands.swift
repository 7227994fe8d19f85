internal import CKernelABI

/// Virtual IOMMUs and what belongs to them.
enum VirtualCommands {
  private static let virtualIOMMU = [
    NamedValue(value: 0, name: "DEFAULT"), NamedValue(value: 1, name: "ARM_SMMUV3"),
    NamedValue(value: 2, name: "TEGRA241_CMDQV"),
    NamedValue(value: UInt64(IOMMU_VIOMMU_TYPE_SELFTEST), name: "SELFTEST"),
  ]
  private static let eventQueue = [
    NamedValue(value: 0, name: "DEFAULT"), NamedValue(value: 1, name: "ARM_SMMUV3"),
    NamedValue(value: 2, name: "TEGRA241_CMDQV"),
    NamedValue(value: UInt64(IOMMU_VEVENTQ_TYPE_SELFTEST), name: "SELFTEST"),
  ]
  private static let hardwareQueue = [
    NamedValue(value: 0, name: "DEFAULT"), NamedValue(value: 1, name: "TEGRA241_CMDQV"),
    NamedValue(value: UInt64(IOMMU_HW_QUEUE_TYPE_SELFTEST), name: "SELFTEST"),
  ]

  static let layouts: [UInt32: CommandLayout] = [
    IOMMUFD_CMD_VIOMMU_ALLOC: .structure(
      "IOMMU_VIOMMU_ALLOC", iommu_viommu_alloc.self,
      [
        .input("type", \.type, .choice(virtualIOMMU)),
        .input("dev", \.dev_id, .number),
        .input("hwpt", \.hwpt_id, .number),
        .option("flags", \.flags, .flags([])),
        .option("data_len", \.data_len, .length),
        .option("data", \.data_uptr, .address),
        .output("viommu", \.out_viommu_id, .number),
      ]),
    IOMMUFD_CMD_VDEVICE_ALLOC: .structure(
      "IOMMU_VDEVICE_ALLOC", iommu_vdevice_alloc.self,
      [
        .input("viommu", \.viommu_id, .number),
        .input("dev", \.dev_id, .number),
        .input("virt_id", \.virt_id, .word),
        .output("vdevice", \.out_vdevice_id, .number),
      ]),
    IOMMUFD_CMD_VEVENTQ_ALLOC: .structure(
      "IOMMU_VEVENTQ_ALLOC", iommu_veventq_alloc.self,
      [
        .input("viommu", \.viommu_id, .number),
        .input("type", \.type, .choice(eventQueue)),
        .input("depth", \.veventq_depth, .number),
        .option("flags", \.flags, .flags([])),
        .output("veventq", \.out_veventq_id, .number),
        .output("fd", \.out_veventq_fd, .newDescriptor),
      ]),
    IOMMUFD_CMD_HW_QUEUE_ALLOC: .structure(
      "IOMMU_HW_QUEUE_ALLOC", iommu_hw_queue_alloc.self,
      [
        .input("viommu", \.viommu_id, .number),
        .input("type", \.type, .choice(hardwareQueue)),
        .input("index", \.index, .number),
        .input("iova", \.nesting_parent_iova, .address),
        .input("len", \.length, .length),
        .option("flags", \.flags, .flags([])),
        .output("hw_queue", \.out_hw_queue_id, .number),
      ]),
  ]
}
