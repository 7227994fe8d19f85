internal import CKernelABI

/// The ioctls of a VFIO type1 container.
enum VFIOCommands {
  private static let extensions = names(
    (VIADUCT_VFIO_TYPE1_IOMMU, "TYPE1_IOMMU"), (VIADUCT_VFIO_TYPE1v2_IOMMU, "TYPE1v2_IOMMU"),
    (VIADUCT_VFIO_DMA_CC_IOMMU, "DMA_CC_IOMMU"),
    (VIADUCT_VFIO_TYPE1_NESTING_IOMMU, "TYPE1_NESTING_IOMMU"),
    (VIADUCT_VFIO_NOIOMMU_IOMMU, "NOIOMMU_IOMMU"), (VIADUCT_VFIO_UNMAP_ALL, "UNMAP_ALL"),
    (VIADUCT_VFIO_UPDATE_VADDR, "UPDATE_VADDR"))

  /// By the whole request.
  static let layouts: [UInt32: CommandLayout] = [
    VIADUCT_VFIO_GET_API_VERSION: CommandLayout(name: "VFIO_GET_API_VERSION", argument: .nothing),
    VIADUCT_VFIO_CHECK_EXTENSION: CommandLayout(
      name: "VFIO_CHECK_EXTENSION", argument: .value(.choice(extensions))),
    VIADUCT_VFIO_SET_IOMMU: CommandLayout(
      name: "VFIO_SET_IOMMU", argument: .value(.choice(extensions))),
    VIADUCT_VFIO_IOMMU_GET_INFO: .structure(
      "VFIO_IOMMU_GET_INFO", vfio_iommu_type1_info.self,
      [
        .output("size", \.argsz, .number),
        .output(
          "flags", \.flags,
          .flags(
            names(
              (VIADUCT_VFIO_IOMMU_INFO_PGSIZES, "PGSIZES"), (VIADUCT_VFIO_IOMMU_INFO_CAPS, "CAPS")))
        ),
        .output("page_sizes", \.iova_pgsizes, .word),
        .field("capabilities_at", \.cap_offset, .number, [.output, .unlessZero]),
      ]),
    VIADUCT_VFIO_IOMMU_MAP_DMA: .structure(
      "VFIO_IOMMU_MAP_DMA", vfio_iommu_type1_dma_map.self,
      [
        .input("iova", \.iova, .address),
        .input("va", \.vaddr, .address),
        .input("len", \.size, .length),
        .input(
          "flags", \.flags,
          .flags(
            names(
              (VIADUCT_VFIO_DMA_MAP_FLAG_READ, "R"), (VIADUCT_VFIO_DMA_MAP_FLAG_WRITE, "W"),
              (VIADUCT_VFIO_DMA_MAP_FLAG_VADDR, "VADDR")))),
      ]),
    VIADUCT_VFIO_IOMMU_UNMAP_DMA: .structure(
      "VFIO_IOMMU_UNMAP_DMA", vfio_iommu_type1_dma_unmap.self,
      [
        .input("iova", \.iova, .address),
        .input("len", \.size, .length),
        .option(
          "flags", \.flags,
          .flags(
            names(
              (VIADUCT_VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP, "GET_DIRTY_BITMAP"),
              (VIADUCT_VFIO_DMA_UNMAP_FLAG_ALL, "ALL"),
              (VIADUCT_VFIO_DMA_UNMAP_FLAG_VADDR, "VADDR")))),
        .output("len", \.size, .length),
      ]),
    VIADUCT_VFIO_IOMMU_DIRTY_PAGES: CommandLayout(
      name: "VFIO_IOMMU_DIRTY_PAGES",
      // No structure of ours: two words, and data that depend on the flags.
      argument: .structure(
        byteCount: 8,
        [
          Field(
            name: "flags", place: FieldPlace(offset: 4, width: 4),
            kind: .flags(
              [(1, "START"), (2, "STOP"), (4, "GET_BITMAP")].map { NamedValue(value: $0, name: $1) }
            ),
            use: .input, condition: nil)
        ])),
  ]
}
