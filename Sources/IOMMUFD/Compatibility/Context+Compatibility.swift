internal import CKernelABI
internal import Clients
internal import Hardware
internal import IOMMUCore

/// VFIO's type 1 commands on an iommufd: they work on the space that IOMMU_VFIO_IOAS names
/// (kernel: vfio_compat.c).
extension Context {
  func requireCompatibilitySpace() throws(Refusal) -> IOAddressSpace {
    guard let space = compatibilitySpace else {
      throw Refusal(.ENODEV, because: "no space is set for VFIO's commands")
    }
    return space
  }

  func compatibilityCommand(
    _ request: UInt32, _ argument: UInt64, caller: any Caller
  ) throws(Refusal) -> Int64 {
    switch request {
    case VIADUCT_VFIO_GET_API_VERSION:
      return Int64(VIADUCT_VFIO_API_VERSION)
    case VIADUCT_VFIO_CHECK_EXTENSION:
      return try checkExtension(argument)
    case VIADUCT_VFIO_SET_IOMMU:
      try setContainerType(argument)
    case VIADUCT_VFIO_IOMMU_GET_INFO:
      try containerInfo(argument, caller)
    case VIADUCT_VFIO_IOMMU_MAP_DMA:
      try containerMap(argument, caller)
    case VIADUCT_VFIO_IOMMU_UNMAP_DMA:
      try containerUnmap(argument, caller)
    default:
      throw Refusal(.ENOTTY, because: "no such command")
    }
    return 0
  }

  private func checkExtension(_ kind: UInt64) throws(Refusal) -> Int64 {
    switch UInt32(truncatingIfNeeded: kind) {
    case _ where kind > UInt32.max:
      return 0
    case VIADUCT_VFIO_TYPE1_IOMMU, VIADUCT_VFIO_TYPE1v2_IOMMU, VIADUCT_VFIO_UNMAP_ALL:
      return 1
    case VIADUCT_VFIO_DMA_CC_IOMMU:
      let tables = try requireCompatibilitySpace().pageTables
      return tables.allSatisfy(\.enforcesCacheCoherency) ? 1 : 0
    default:
      return 0
    }
  }

  private func setContainerType(_ kind: UInt64) throws(Refusal) {
    guard
      kind == UInt64(VIADUCT_VFIO_TYPE1_IOMMU) || kind == UInt64(VIADUCT_VFIO_TYPE1v2_IOMMU)
    else { throw Refusal(.EINVAL, because: "the container is of another kind") }
    let space = try requireCompatibilitySpace()
    // Type 1 lets its users unmap parts of what they mapped.
    if kind == UInt64(VIADUCT_VFIO_TYPE1_IOMMU) { try space.disableLargePages() }
  }

  private func containerMap(_ address: UInt64, _ caller: any Caller) throws(Refusal) {
    let map = try caller.load(
      vfio_iommu_type1_dma_map.self, at: address, zero: vfio_iommu_type1_dma_map())
    let known = VIADUCT_VFIO_DMA_MAP_FLAG_READ | VIADUCT_VFIO_DMA_MAP_FLAG_WRITE
    guard map.argsz >= 32, map.flags & ~known == 0 else {
      throw Refusal(.EINVAL, because: "the structure is too short or a flag unknown")
    }
    var access: Access = []
    if map.flags & VIADUCT_VFIO_DMA_MAP_FLAG_READ != 0 { access.insert(.read) }
    if map.flags & VIADUCT_VFIO_DMA_MAP_FLAG_WRITE != 0 { access.insert(.write) }
    _ = try requireCompatibilitySpace().mapProcessMemory(
      map.vaddr, byteCount: map.size, at: map.iova, access: access, caller: caller)
  }

  private func containerUnmap(_ address: UInt64, _ caller: any Caller) throws(Refusal) {
    var unmap = try caller.load(
      vfio_iommu_type1_dma_unmap.self, at: address, zero: vfio_iommu_type1_dma_unmap())
    guard unmap.argsz >= 24, unmap.flags & ~VIADUCT_VFIO_DMA_UNMAP_FLAG_ALL == 0 else {
      throw Refusal(.EINVAL, because: "the structure is too short or a flag unknown")
    }
    let space = try requireCompatibilitySpace()
    if unmap.flags & VIADUCT_VFIO_DMA_UNMAP_FLAG_ALL != 0 {
      guard unmap.iova == 0, unmap.size == 0 else {
        throw Refusal(.EINVAL, because: "unmapping everything takes no range")
      }
    } else if space.largePagesDisabled {
      try space.cut(behind: unmap.iova &+ unmap.size &- 1)
      if unmap.iova > 0 { try space.cut(behind: unmap.iova - 1) }
    }
    var refusal: Refusal?
    do throws(IOAddressSpace.PartialUnmap) {
      unmap.size = try space.unmap(unmap)
    } catch {
      unmap.size = error.byteCount
      refusal = error.refusal
    }
    // How much was removed is told even when the rest could not be.
    try caller.store(unmap, at: address)
    if let refusal { throw refusal }
  }
}

extension IOAddressSpace {
  fileprivate func unmap(_ unmap: vfio_iommu_type1_dma_unmap) throws(PartialUnmap) -> UInt64 {
    if unmap.flags & VIADUCT_VFIO_DMA_UNMAP_FLAG_ALL != 0 {
      return try self.unmap(0, through: .max)
    }
    guard unmap.size > 0 else {
      throw PartialUnmap(
        byteCount: 0, refusal: Refusal(.EINVAL, because: "the length is zero"))
    }
    guard let last = lastByte(of: unmap.iova, unmap.size) else {
      throw PartialUnmap(
        byteCount: 0, refusal: Refusal(.EOVERFLOW, because: "the range does not fit 64 bits"))
    }
    return try self.unmap(unmap.iova, through: last)
  }
}
