internal import CKernelABI
internal import Clients
internal import Hardware
internal import IOMMUCore

extension Context {
  /// VFIO_IOMMU_GET_INFO: page sizes, and behind them a chain of capabilities as far as there is
  /// room.
  func containerInfo(_ address: UInt64, _ caller: any Caller) throws(Refusal) {
    var info = InfoHead()
    info.oldest = try caller.load(InfoHead.Oldest.self, at: address, zero: InfoHead.Oldest())
    guard info.oldest.argsz >= MemoryLayout<InfoHead.Oldest>.size else {
      throw Refusal(.EINVAL, because: "the structure is too short")
    }
    let room = UInt64(info.oldest.argsz)
    let space = try requireCompatibilitySpace()
    var chain = CapabilityChain(at: address, room: room, caller: caller)
    try chain.append(availability(), items: [])
    let holes = space.holes
    try chain.append(rangesHeader(count: holes.count), items: holes)
    info.oldest.flags = VIADUCT_VFIO_IOMMU_INFO_PGSIZES | VIADUCT_VFIO_IOMMU_INFO_CAPS
    info.oldest.pageSizes = space.pageSizes
    info.capabilityOffset = room >= chain.total ? UInt32(CapabilityChain.start) : 0
    info.oldest.argsz = UInt32(chain.total)
    let size = min(Int(room), MemoryLayout<InfoHead>.size)
    do throws(MemoryFault) {
      try unsafe withUnsafeBytes(of: info) { (bytes) throws(MemoryFault) in
        try unsafe caller.write(
          at: address, from: UnsafeRawBufferPointer(rebasing: bytes[..<size]))
      }
    } catch {
      throw Refusal(.EFAULT, because: "the answer cannot be written")
    }
  }

  /// How many more mappings the container takes: no limit but memory.
  private func availability() -> [UInt8] {
    var capability = vfio_iommu_type1_info_dma_avail()
    capability.header.id = VIADUCT_VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL
    capability.header.version = 1
    capability.avail = .max
    return bytes(of: capability)
  }

  private func rangesHeader(count: Int) -> [UInt8] {
    var capability = vfio_iommu_type1_info_cap_iova_range()
    capability.header.id = VIADUCT_VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE
    capability.header.version = 1
    capability.nr_iovas = UInt32(count)
    return bytes(of: capability)
  }
}

extension IOAddressSpace {
  /// What may be mapped, each stretch as VFIO shows it.
  fileprivate var holes: [[UInt8]] {
    var holes: [[UInt8]] = []
    reserved.forEachHole(in: 0...(.max)) { hole in
      holes.append(bytes(of: vfio_iova_range(start: hole.lowerBound, end: hole.upperBound)))
      return true
    }
    return holes
  }

  /// Leaf sizes that every domain has, of at least a page.
  fileprivate var pageSizes: UInt64 {
    var sizes = domains.reduce(UInt64.max) { $0 & $1.pageSizes }
    if sizes & (pageBytes - 1) != 0 { sizes = sizes & ~(pageBytes - 1) | pageBytes }
    return max(sizes, alignment)
  }
}

private func bytes<Value: BitwiseCopyable>(of value: Value) -> [UInt8] {
  unsafe withUnsafeBytes(of: value) { unsafe Array($0) }
}

/// The structure without its capabilities.
private struct InfoHead: BitwiseCopyable {
  /// As far as the oldest clients know it; only this much is read of theirs.
  struct Oldest: BitwiseCopyable {
    var argsz: UInt32 = 0
    var flags: UInt32 = 0
    var pageSizes: UInt64 = 0
  }
  var oldest = Oldest()
  var capabilityOffset: UInt32 = 0
  var padding: UInt32 = 0
}

/// Capabilities behind one another, each pointing to the next, written as far as there is room.
private struct CapabilityChain {
  /// Where the first one lies: behind the structure.
  static var start: UInt64 { UInt64(MemoryLayout<vfio_iommu_type1_info>.size) }

  private let address: UInt64
  private let room: UInt64
  private let caller: any Caller
  private(set) var total = CapabilityChain.start
  private var previous: UInt64?

  init(at address: UInt64, room: UInt64, caller: any Caller) {
    self.address = address
    self.room = room
    self.caller = caller
  }

  /// Adds a capability that ends in an array. What does not fit is left out, but its size counts;
  /// like Linux, items that fit are written even where the whole does not.
  mutating func append(_ head: [UInt8], items: [[UInt8]]) throws(Refusal) {
    var end = total + UInt64(head.count)
    for item in items {
      if room >= end + UInt64(item.count) { try caller.store(item, at: address &+ end) }
      end += UInt64(item.count)
    }
    if room >= end { try caller.store(head, at: address &+ total) }
    if let previous, room >= total {
      try caller.store(UInt32(total), at: address &+ previous &+ 4)  // header.next
    }
    previous = total
    total = (end + 7) & ~7
  }
}
