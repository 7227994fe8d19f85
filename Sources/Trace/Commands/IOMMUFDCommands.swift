internal import CKernelABI

/// The public ioctls of /dev/iommu.
enum IOMMUFDCommands {
  static let layouts: [UInt32: CommandLayout] = AddressSpaceCommands.layouts
    .merging(TableCommands.layouts) { first, _ in first }
    .merging(VirtualCommands.layouts) { first, _ in first }
}

/// Objects in general, I/O address spaces and options.
enum AddressSpaceCommands {
  private static let mapFlags = names(
    (IOMMU_IOAS_MAP_FIXED_IOVA, "FIXED"), (IOMMU_IOAS_MAP_READABLE, "R"),
    (IOMMU_IOAS_MAP_WRITEABLE, "W"))

  static let layouts: [UInt32: CommandLayout] = [
    IOMMUFD_CMD_DESTROY: .structure(
      "IOMMU_DESTROY", iommu_destroy.self,
      [
        .input("id", \.id, .number)
      ]),
    IOMMUFD_CMD_IOAS_ALLOC: .structure(
      "IOMMU_IOAS_ALLOC", iommu_ioas_alloc.self,
      [
        .option("flags", \.flags, .flags([])),
        .output("ioas", \.out_ioas_id, .number),
      ]),
    IOMMUFD_CMD_IOAS_ALLOW_IOVAS: .structure(
      "IOMMU_IOAS_ALLOW_IOVAS", iommu_ioas_allow_iovas.self,
      [
        .input("ioas", \.ioas_id, .number),
        .input("count", \.num_iovas, .number),
        .input("ranges", \.allowed_iovas, .address),
      ]),
    IOMMUFD_CMD_IOAS_COPY: .structure(
      "IOMMU_IOAS_COPY", iommu_ioas_copy.self,
      [
        .input("from", \.src_ioas_id, .number),
        .input("from_iova", \.src_iova, .address),
        .input("to", \.dst_ioas_id, .number),
        .input("len", \.length, .length),
        .input("flags", \.flags, .flags(mapFlags)),
        .field(
          "iova", \.dst_iova, .address, .inputOfRefused,
          when: .has(\.flags, IOMMU_IOAS_MAP_FIXED_IOVA)),
        .output("iova", \.dst_iova, .address),
      ]),
    IOMMUFD_CMD_IOAS_IOVA_RANGES: .structure(
      "IOMMU_IOAS_IOVA_RANGES", iommu_ioas_iova_ranges.self,
      [
        .input("ioas", \.ioas_id, .number),
        .input("room", \.num_iovas, .number),
        .input("ranges", \.allowed_iovas, .address),
        // The number there are comes back even when there is no room for them.
        .field("count", \.num_iovas, .number, [.output, .outputOfRefused]),
        .output("alignment", \.out_iova_alignment, .length),
      ]),
    IOMMUFD_CMD_IOAS_MAP: .structure(
      "IOMMU_IOAS_MAP", iommu_ioas_map.self,
      [
        .input("ioas", \.ioas_id, .number),
        .input("va", \.user_va, .address),
        .input("len", \.length, .length),
        .input("flags", \.flags, .flags(mapFlags)),
        .field(
          "iova", \.iova, .address, .inputOfRefused,
          when: .has(\.flags, IOMMU_IOAS_MAP_FIXED_IOVA)),
        .output("iova", \.iova, .address),
      ]),
    IOMMUFD_CMD_IOAS_MAP_FILE: .structure(
      "IOMMU_IOAS_MAP_FILE", iommu_ioas_map_file.self,
      [
        .input("ioas", \.ioas_id, .number),
        .input("fd", \.fd, .descriptor),
        .input("start", \.start, .address),
        .input("len", \.length, .length),
        .input("flags", \.flags, .flags(mapFlags)),
        .field(
          "iova", \.iova, .address, .inputOfRefused,
          when: .has(\.flags, IOMMU_IOAS_MAP_FIXED_IOVA)),
        .output("iova", \.iova, .address),
      ]),
    IOMMUFD_CMD_IOAS_UNMAP: .structure(
      "IOMMU_IOAS_UNMAP", iommu_ioas_unmap.self,
      [
        .input("ioas", \.ioas_id, .number),
        .input("iova", \.iova, .address),
        .input("len", \.length, .length),
        .output("len", \.length, .length),
      ]),
    IOMMUFD_CMD_IOAS_CHANGE_PROCESS: .structure(
      "IOMMU_IOAS_CHANGE_PROCESS", iommu_ioas_change_process.self, []),
    IOMMUFD_CMD_IOAS_NOIOMMU_GET_PA: .structure(
      "IOMMU_IOAS_NOIOMMU_GET_PA", iommu_ioas_noiommu_get_pa.self,
      [
        .input("ioas", \.ioas_id, .number),
        .option("flags", \.flags, .flags([])),
        .input("iova", \.iova, .address),
        .input("len", \.length, .length),
        .output("len", \.length, .length),
        .output("physical", \.out_phys, .address),
      ]),
    IOMMUFD_CMD_OPTION: .structure(
      "IOMMU_OPTION", iommu_option.self,
      [
        .input(
          "op", \.op, .choice(names((IOMMU_OPTION_OP_SET, "SET"), (IOMMU_OPTION_OP_GET, "GET")))),
        .input(
          "option", \.option_id,
          .choice(
            names(
              (IOMMU_OPTION_RLIMIT_MODE, "RLIMIT_MODE"), (IOMMU_OPTION_HUGE_PAGES, "HUGE_PAGES")))
        ),
        .option("object", \.object_id, .number),
        .input("value", \.val64, .number, when: .equals(\.op, IOMMU_OPTION_OP_SET)),
        .output("value", \.val64, .number, when: .equals(\.op, IOMMU_OPTION_OP_GET)),
      ]),
    IOMMUFD_CMD_VFIO_IOAS: .structure(
      "IOMMU_VFIO_IOAS", iommu_vfio_ioas.self,
      [
        .input(
          "op", \.op,
          .choice(
            names(
              (IOMMU_VFIO_IOAS_GET, "GET"), (IOMMU_VFIO_IOAS_SET, "SET"),
              (IOMMU_VFIO_IOAS_CLEAR, "CLEAR")))),
        .input("ioas", \.ioas_id, .number, when: .equals(\.op, IOMMU_VFIO_IOAS_SET)),
        .output("ioas", \.ioas_id, .number, when: .equals(\.op, IOMMU_VFIO_IOAS_GET)),
      ]),
  ]
}
