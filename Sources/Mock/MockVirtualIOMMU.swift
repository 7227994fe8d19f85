public import Hardware
public import IOMMUCore

/// The mock's slice for one guest. It shows the client a page in which a word of its own comes
/// back.
public final class MockVirtualIOMMU: VirtualIOMMU {
  private let unit: MockUnit
  let parent: PagingDomain
  private var mapping: VirtualIOMMUMapping?
  private var queues = InlineArray<2, MockHardwareQueue?>(repeating: nil)

  private static var mappingBytes: UInt64 { 2 * pageBytes }

  init(
    unit: MockUnit, parent: PagingDomain, _ data: UserData?, host: any VirtualIOMMUHost
  ) throws(DriverError) {
    self.unit = unit
    self.parent = parent
    super.init(host: host)
    if let data { mapping = try makeMapping(data) }
  }

  /// Makes the page and answers the client; an answer it cannot take undoes everything.
  private func makeMapping(_ data: UserData) throws(DriverError) -> VirtualIOMMUMapping {
    var answer = try data.load(
      type: MockType.virtualIOMMU, zero: MockVirtualIOMMUData(),
      minimumBytes: MockVirtualIOMMUData.minimumBytes)
    try unit.failures.countAllocation()
    let mapping = try host.allocateMapping(byteCount: Self.mappingBytes)
    unsafe mapping.bytes.storeBytes(of: answer.input.littleEndian, as: UInt32.self)
    answer.output = answer.input
    answer.mappingOffset = mapping.offset
    answer.mappingBytes = Self.mappingBytes
    do throws(DriverError) {
      try data.store(
        answer, type: MockType.virtualIOMMU, minimumBytes: MockVirtualIOMMUData.minimumBytes)
    } catch {
      host.freeMapping(mapping)
      throw error
    }
    return mapping
  }

  public override func free() {
    if let mapping { host.freeMapping(mapping) }
    mapping = nil
  }

  public override func allocateNestedDomain(
    _ options: DomainOptions, _ data: UserData
  ) throws(DriverError) -> NestedDomain {
    try MockNestedDomain(unit: unit, options, data, virtualIOMMU: self)
  }

  /// The whole array is read before the first entry takes effect. No entries at all are allowed
  /// when their type is right: so a client asks whether it is.
  public override func invalidate(
    _ entries: UserDataArray
  ) -> (done: UInt32, error: DriverError?) {
    if entries.entryCount == 0, entries.type == MockType.deviceInvalidation { return (0, nil) }
    // Without memory the kernel leaves the client's count as it is.
    if entries.entryCount > 0, unit.failures.shouldFail() {
      return (
        entries.entryCount, DriverError(.outOfMemory, because: "the driver has no memory")
      )
    }
    var done: UInt32 = 0
    do throws(DriverError) {
      let requests = try entries.loadAll(
        type: MockType.deviceInvalidation, zero: MockDeviceInvalidation())
      for request in requests {
        try invalidate(request)
        done += 1
      }
    } catch {
      return (done, error)
    }
    return (done, nil)
  }

  private func invalidate(_ request: MockDeviceInvalidation) throws(DriverError) {
    try MockCache.check(word: request.word, flags: request.flags)
    guard let device = host.device(virtualID: UInt64(request.virtualID)) as? MockDevice else {
      throw DriverError(.invalid, because: "the virtual IOMMU has no device of this id")
    }
    try device.cache.invalidate(word: request.word, flags: request.flags)
  }

  public override func supportsHardwareQueue(type: UInt32) -> Bool {
    type == MockType.hardwareQueue
  }

  /// Queues are made in order of their index, and each keeps the one before it alive.
  public override func allocateHardwareQueue(
    type: UInt32, index: UInt32, address: IOVirtualAddress, base: PhysicalAddress, byteCount: UInt64
  ) throws(DriverError) -> HardwareQueue {
    guard supportsHardwareQueue(type: type) else {
      throw DriverError(.notSupported, because: "the mock has no hardware queues of this type")
    }
    guard index < queues.count else {
      throw DriverError(.invalid, because: "the mock has two hardware queues")
    }
    guard queues[Int(index)] == nil else {
      throw DriverError(.exists, because: "the hardware queue exists")
    }
    let previous = index > 0 ? queues[Int(index) - 1] : nil
    guard index == 0 || previous != nil else {
      throw DriverError(.inputOutput, because: "the hardware queue before this one is missing")
    }
    guard base == parent.physicalAddress(of: address) ?? PhysicalAddress(0) else {
      throw DriverError(
        .badAddress, because: "the nesting parent does not lead to the queue's base")
    }
    let queue = MockHardwareQueue(of: self, index: Int(index), dependingOn: previous)
    queues[Int(index)] = queue
    return queue
  }

  /// Linux 7.3 never notes a queue's index: destroying any queue frees index 0, and index 1 stays
  /// taken (drivers/iommu/iommufd/selftest.c, mock_hw_queue_init_phys).
  func forgetQueue() { queues[0] = nil }
}

/// A queue that no hardware reads; only the rules of its making are there.
public final class MockHardwareQueue: HardwareQueue {
  private unowned let virtualIOMMU: MockVirtualIOMMU
  public let index: Int

  init(of virtualIOMMU: MockVirtualIOMMU, index: Int, dependingOn previous: MockHardwareQueue?) {
    self.virtualIOMMU = virtualIOMMU
    self.index = index
    super.init(dependingOn: previous)
  }

  public override func free() { virtualIOMMU.forgetQueue() }
}
