import CKernelABI
import Clients
import TestSupport
import Testing

@Suite("Fault queues")
struct FaultQueueTests {
  let client: Client
  let nesting: Nesting
  let queue: (id: UInt32, descriptor: UInt32)
  let file: QueueFile
  let table: UInt32

  init() throws {
    client = try Client()
    nesting = try Nesting(client)
    queue = try client.makeFaultQueue()
    file = try QueueFile(client, queue.descriptor)
    table = try client.makeNested(nesting.device, nesting.viommu, faults: queue.id)
    try client.replace(nesting.object, table)
  }

  private func trigger(
    _ group: UInt32, _ device: UInt32? = nil, pasid: UInt32 = 0
  ) throws(Refusal) {
    try client.test(IOMMU_TEST_OP_TRIGGER_IOPF) {
      unsafe $0.trigger_iopf = iommu_test_trigger_iopf(
        dev_id: device ?? nesting.device, pasid: pasid, grpid: group, perm: group % 4,
        addr: 0xdead_0000 + UInt64(group))
    }
  }

  /// The words of a fault as the client reads it.
  private func fault(
    _ group: UInt32, cookie: UInt32, _ device: UInt32? = nil, pasid: UInt32 = 0
  ) -> [UInt32] {
    let flags =
      IOMMU_PGFAULT_FLAGS_LAST_PAGE | (pasid == 0 ? 0 : IOMMU_PGFAULT_FLAGS_PASID_VALID)
    return [
      flags, device ?? nesting.device, pasid, group, group % 4, 0, 0xdead_0000 + group, 0, 0,
      cookie,
    ]
  }

  private func refusal(_ body: (QueueFile) throws(Refusal) -> Void) -> Errno? { file.errno(body) }

  /// A second device below the same table.
  private func makeSecond() throws -> (object: UInt32, table: UInt32, device: UInt32) {
    let device = try client.makeDevice(on: nesting.space)
    _ = try client.makeVirtualDevice(nesting.viommu, device.device, named: 0x42)
    try client.replace(device.object, table)
    return device
  }

  @Test func faultsComeInTheirOrderWithTheirCookies() throws {
    let second = try makeSecond()
    try trigger(7)
    try trigger(7)
    try trigger(9, second.device)
    #expect(
      try file.read(400) == fault(7, cookie: 1) + fault(7, cookie: 2)
        + fault(9, cookie: 3, second.device))
    #expect(try file.read(400) == [])
  }

  @Test func cookiesAreTheLowestFreeOnes() throws {
    for group in 1...3 as ClosedRange<UInt32> { try trigger(group) }
    _ = try file.read(120)
    #expect(try file.write([2, IOMMUFD_PAGE_RESP_SUCCESS]) == 8)
    try trigger(4)
    try trigger(5)
    #expect(try file.read(80) == fault(4, cookie: 2) + fault(5, cookie: 4))
  }

  @Test func aPASIDIsToldApart() throws {
    try trigger(1, pasid: 5)
    #expect(try file.read(40) == fault(1, cookie: 1, pasid: 5))
  }

  @Test func aReadTakesWholeFaults() throws {
    for group in 1...4 as ClosedRange<UInt32> { try trigger(group) }
    #expect(try file.read(40) == fault(1, cookie: 1))
    #expect(try file.read(80) == fault(2, cookie: 2) + fault(3, cookie: 3))
    for count in [1, 39, 41, 79] as [UInt64] {
      #expect(refusal { (file) throws(Refusal) in _ = try file.read(count) } == .ESPIPE)
    }
    #expect(refusal { (file) throws(Refusal) in _ = try file.read(0) } == .EINVAL)
    #expect(try file.read(400) == fault(4, cookie: 4))
    #expect(try file.read(0) == [])
    #expect(refusal { (file) throws(Refusal) in _ = try file.read(40, offset: 40) } == .ESPIPE)
  }

  @Test func aBufferThatCannotBeWrittenLosesNothing() throws {
    for group in 1...3 as ClosedRange<UInt32> { try trigger(group) }
    #expect(
      refusal { (file) throws(Refusal) in _ = try file.read(40, at: 0x6666_0000) } == .EFAULT)
    let end = QueueFile.address + 0x4000
    #expect(
      refusal { (file) throws(Refusal) in _ = try file.readCount(80, at: end - 39) } == .EFAULT)
    #expect(try file.readCount(120, at: end - 60) == 40)
    #expect(refusal { (file) throws(Refusal) in try file.write([2, 0]) } == .EINVAL)
    #expect(try file.read(120) == fault(2, cookie: 2) + fault(3, cookie: 3))
  }

  @Test func answersAreTakenInOrderUntilABadOne() throws {
    for group in 1...4 as ClosedRange<UInt32> { try trigger(group) }
    _ = try file.read(160)
    #expect(try file.write([3, 0, 1, 1, 77, 0, 2, 0]) == 16)
    #expect(refusal { (file) throws(Refusal) in try file.write([3, 0]) } == .EINVAL)
    #expect(refusal { (file) throws(Refusal) in try file.write([2, 2]) } == .EINVAL)
    #expect(refusal { (file) throws(Refusal) in try file.write([2, 0], count: 7) } == .ESPIPE)
    #expect(refusal { (file) throws(Refusal) in try file.write([2, 0], offset: 8) } == .ESPIPE)
    #expect(try file.write([], count: 0) == 0)
    #expect(try file.write([2, 0, 4, 1]) == 16)
    #expect(
      client.errno { () throws(Refusal) in
        _ = try file.file.write(0x6666_0000, count: 8, offset: nil, caller: client.caller)
      } == .EFAULT)
  }

  @Test func anAnswerBeforeItsFaultWasReadIsRefused() throws {
    try trigger(1)
    #expect(refusal { (file) throws(Refusal) in try file.write([1, 0]) } == .EINVAL)
    #expect(try file.read(40) == fault(1, cookie: 1))
  }

  @Test func aFaultThatNobodyHandlesIsAnsweredByTheMachine() throws {
    try client.replace(nesting.object, nesting.space)
    try trigger(1)
    try client.replace(nesting.object, table)
    #expect(try file.read(40) == [])
    #expect(client.errno { () throws(Refusal) in try trigger(1, 999) } == .ENOENT)
  }

  @Test func aDetachedDeviceTakesItsFaultsAlong() throws {
    let second = try makeSecond()
    try trigger(1)
    try trigger(2, second.device)
    _ = try file.read(80)
    try trigger(3)
    try trigger(4, second.device)
    try client.replace(nesting.object, nesting.parent)
    // Read or not, the first device's are gone; the other's are not.
    #expect(refusal { (file) throws(Refusal) in try file.write([1, 0]) } == .EINVAL)
    #expect(try file.read(400) == fault(4, cookie: 1, second.device))
    #expect(try file.write([2, 0, 1, 0]) == 16)
  }

  @Test func aDestroyedDeviceTakesItsFaultsAlong() throws {
    let readability = Readability(of: file.file)
    try trigger(1)
    _ = try file.read(40)
    try trigger(2)
    #expect(readability.take().last == true)
    try client.destroy(nesting.object)
    #expect(try file.read(40) == [])
    #expect(refusal { (file) throws(Refusal) in try file.write([1, 0]) } == .EINVAL)
    #expect(readability.take().last == false)
  }

  @Test func aQueueCanServeAPASID() throws {
    let device = try client.makeDevice(on: nesting.space, flags: MOCK_FLAGS_DEVICE_PASID)
    let plain = try client.makeTable(
      device.device, nesting.space, flags: IOMMU_HWPT_ALLOC_PASID)
    try client.replace(device.object, plain)
    let paged = try client.makeNested(
      device.device, nesting.parent, flags: IOMMU_HWPT_ALLOC_PASID, faults: queue.id)
    try client.attach(device.object, pasid: 100, paged)
    try trigger(1, device.device)
    try trigger(2, device.device, pasid: 100)
    try trigger(3, device.device, pasid: 101)
    #expect(try file.read(400) == fault(2, cookie: 1, device.device, pasid: 100))
    try trigger(4, device.device, pasid: 100)
    try client.detach(device.object, pasid: 100)
    #expect(try file.read(400) == [])
    #expect(refusal { (file) throws(Refusal) in try file.write([1, 0]) } == .EINVAL)
  }

  @Test("reads, answers and triggers agree with a list", arguments: 1...16 as ClosedRange)
  func seeded(seed: UInt64) throws {
    var random = SeededRandom(seed: seed)
    let readability = Readability(of: file.file)
    var waiting: [UInt32] = []
    var outstanding: Set<UInt32> = []
    for step in 1...300 as ClosedRange<UInt32> {
      let place: Comment = "seed \(seed) step \(step)"
      let wasReadable = !waiting.isEmpty
      switch UInt64.random(in: 0..<8, using: &random) {
      case 0..<4:
        try trigger(step)
        waiting.append(step)
      case 4, 5:
        let count = Int.random(in: 1...4, using: &random)
        var expected: [UInt32] = []
        for group in waiting.prefix(count) {
          let cookie = (1...).first { !outstanding.contains($0) } ?? 0
          outstanding.insert(cookie)
          expected += fault(group, cookie: cookie)
        }
        waiting.removeFirst(min(count, waiting.count))
        #expect(try file.read(UInt64(count) * 40) == expected, place)
      default:
        let cookie = UInt32.random(in: 1...9, using: &random)
        let refusal = refusal { (file) throws(Refusal) in try file.write([cookie, step & 1]) }
        #expect(refusal == (outstanding.remove(cookie) == nil ? .EINVAL : nil), place)
      }
      #expect(readability.take().last ?? wasReadable == !waiting.isEmpty, place)
    }
  }

  @Test func readabilityFollowsTheFaults() throws {
    #expect(file.file.readiness == .queueBothWays)
    #expect(file.file.name.contains("[iommufd-pgfault]"))
    let readability = Readability(of: file.file)
    try trigger(1)
    try trigger(2)
    #expect(readability.take() == [true])
    _ = try file.read(40)
    #expect(readability.take().last ?? true == true)
    _ = try file.read(40)
    #expect(readability.take() == [false])
  }

  @Test func aQueueIsBusyWhileATableOrItsFileUsesIt() throws {
    func destroy(_ id: UInt32) -> Errno? {
      client.errno { () throws(Refusal) in try client.destroy(id) }
    }
    #expect(destroy(queue.id) == .EBUSY)
    client.close(queue.descriptor)
    #expect(destroy(queue.id) == .EBUSY)
    try client.replace(nesting.object, nesting.space)
    #expect(destroy(table) == nil)
    #expect(destroy(queue.id) == nil)
    #expect(try client.makeFaultQueue().id == queue.id)
  }
}
