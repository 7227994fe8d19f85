import CKernelABI
import Clients
import TestSupport
import Testing

@Suite("Event queues of virtual IOMMUs")
struct EventQueueTests {
  static var lost: UInt32 { IOMMU_VEVENTQ_FLAG_LOST_EVENTS }
  let client: Client
  let nesting: Nesting

  init() throws {
    client = try Client()
    nesting = try Nesting(client)
  }

  private func makeQueue(depth: UInt32 = 8) throws -> (id: UInt32, number: UInt32, QueueFile) {
    let queue = try client.makeEventQueue(nesting.viommu, depth: depth)
    return (queue.id, queue.descriptor, try QueueFile(client, queue.descriptor))
  }

  private func trigger(_ count: Int = 1, _ device: UInt32? = nil) throws(Refusal) {
    for _ in 0..<count {
      try client.test(IOMMU_TEST_OP_TRIGGER_VEVENT) {
        unsafe $0.trigger_vevent.dev_id = device ?? nesting.device
      }
    }
  }

  /// The words of an event with this sequence number.
  private func event(_ sequence: UInt32, _ name: UInt32 = 0x99) -> [UInt32] { [0, sequence, name] }

  @Test func eventsComeInTheirOrderWithTheNameOfTheirDevice() throws {
    let (_, _, queue) = try makeQueue()
    try nesting.attach()
    let other = try client.makeDevice(on: nesting.space)
    _ = try client.makeVirtualDevice(nesting.viommu, other.device, named: 0x42)
    try client.replace(other.object, try client.makeNested(other.device, nesting.viommu))
    try trigger()
    try trigger(2, other.device)
    try trigger()
    #expect(
      try queue.read(4096) == event(0) + event(1, 0x42) + event(2, 0x42) + event(3))
    #expect(try queue.read(4096) == [])
  }

  @Test func anEventNeedsQueueAndPlaceInTheVirtualIOMMU() throws {
    func refusal() -> Errno? { client.errno { () throws(Refusal) in try trigger() } }
    #expect(refusal() == .ENOENT)
    try nesting.attach()
    #expect(refusal() == .EOPNOTSUPP)
    let (_, _, queue) = try makeQueue()
    #expect(refusal() == nil)
    try client.replace(nesting.object, nesting.space)
    #expect(refusal() == .ENOENT)
    #expect(try queue.read(64) == event(0))
    #expect(client.errno { () throws(Refusal) in try trigger(1, 999) } == .ENOENT)
  }

  @Test func aReadTakesWholeEvents() throws {
    let (_, _, queue) = try makeQueue()
    try nesting.attach()
    try trigger(5)
    #expect(try queue.read(12) == event(0))
    #expect(try queue.read(23) == event(1))
    #expect(try queue.read(35) == event(2) + event(3))
    #expect(try queue.read(4096) == event(4))
  }

  @Test func aBufferTooSmallForAnEventLosesNothing() throws {
    let (_, _, queue) = try makeQueue()
    try nesting.attach()
    for count in [0, 7] as [UInt64] {
      #expect(queue.errno { (queue) throws(Refusal) in _ = try queue.read(count) } == .EINVAL)
    }
    #expect(try queue.read(8) == [])
    try trigger()
    for count in [0, 7, 8, 11] as [UInt64] {
      #expect(queue.errno { (queue) throws(Refusal) in _ = try queue.read(count) } == .EINVAL)
    }
    #expect(try queue.read(12) == event(0))
  }

  @Test func aBufferThatCannotBeWrittenLosesNothing() throws {
    let (_, _, queue) = try makeQueue()
    try nesting.attach()
    try trigger(3)
    #expect(
      queue.errno { (queue) throws(Refusal) in _ = try queue.read(64, at: 0x6666_0000) }
        == .EFAULT)
    // The memory ends within the header, behind it, within the second event.
    let end = QueueFile.address + 0x4000
    for room in [4, 8, 10] as [UInt64] {
      #expect(
        queue.errno { (queue) throws(Refusal) in
          _ = try queue.readCount(36, at: end - room)
        } == .EFAULT, "\(room) bytes")
    }
    #expect(try queue.readCount(36, at: end - 22) == 12)
    #expect(try queue.read(64) == event(1) + event(2))
  }

  @Test func aFullQueueEndsWithTheMarkOfLostEvents() throws {
    let (_, _, queue) = try makeQueue(depth: 2)
    try nesting.attach()
    try trigger(2)
    try trigger(3)
    #expect(try queue.read(4096) == event(0) + event(1) + [Self.lost, 4])
    #expect(try queue.read(4096) == [])
    try trigger()
    #expect(try queue.read(4096) == event(5))
  }

  @Test func anEventAfterAGapReplacesTheMark() throws {
    let (_, _, queue) = try makeQueue(depth: 2)
    try nesting.attach()
    try trigger(4)
    #expect(try queue.read(12) == event(0))
    try trigger()
    #expect(try queue.read(4096) == event(1) + event(4))
    try trigger(3)
    #expect(try queue.read(24) == event(5) + event(6))
    #expect(try queue.read(8) == [Self.lost, 7])
  }

  @Test func aMarkThatCouldNotBeDeliveredComesAgain() throws {
    let (_, _, queue) = try makeQueue(depth: 1)
    try nesting.attach()
    try trigger(2)
    #expect(try queue.read(19) == event(0))
    #expect(
      queue.errno { (queue) throws(Refusal) in _ = try queue.read(8, at: 0x6666_0000) } == .EFAULT)
    #expect(try queue.read(8) == [Self.lost, 1])
    #expect(try queue.read(8) == [])
  }

  @Test("what is read and what was triggered agree", arguments: 1...16 as ClosedRange)
  func seeded(seed: UInt64) throws {
    var random = SeededRandom(seed: seed)
    let depth = Int.random(in: 1...5, using: &random)
    let (_, _, queue) = try makeQueue(depth: UInt32(depth))
    let readability = Readability(of: queue.file)
    try nesting.attach()
    /// Waiting sequence numbers, and that of the mark behind them.
    var waiting: [UInt32] = []
    var mark: UInt32?
    var sequence: UInt32 = 0
    for step in 1...300 {
      let wasReadable = !waiting.isEmpty || mark != nil
      if Bool.random(using: &random) {
        try trigger()
        if waiting.count == depth {
          mark = sequence
        } else {
          waiting.append(sequence)
          mark = nil
        }
        sequence += 1
      } else {
        let count = UInt64.random(in: 8...64, using: &random)
        var room = count
        var expected: [UInt32] = []
        while room >= 12, let first = waiting.first {
          expected += event(first)
          waiting.removeFirst()
          room -= 12
        }
        if room >= 8, waiting.isEmpty, let last = mark {
          expected += [Self.lost, last]
          mark = nil
        }
        let isTooSmall = expected.isEmpty && !waiting.isEmpty
        var words: [UInt32] = []
        let refusal = queue.errno { (queue) throws(Refusal) in words = try queue.read(count) }
        #expect(refusal == (isTooSmall ? .EINVAL : nil), "seed \(seed) step \(step)")
        #expect(words == expected, "seed \(seed) step \(step)")
      }
      let isReadable = !waiting.isEmpty || mark != nil
      #expect(
        readability.take().last ?? wasReadable == isReadable, "seed \(seed) step \(step)")
    }
  }

  @Test func readabilityFollowsTheEvents() throws {
    let (_, _, queue) = try makeQueue()
    let readability = Readability(of: queue.file)
    #expect(queue.file.readiness == .queueOut)
    #expect(queue.file.name.contains("[iommufd-viommu-event]"))
    try nesting.attach()
    #expect(readability.take() == [])
    try trigger()
    #expect(readability.take() == [true])
    try trigger()
    _ = try queue.read(12)
    #expect(readability.take().last ?? true == true)
    _ = try queue.read(12)
    #expect(readability.take() == [false])
  }

  @Test func aQueueIsNeitherWrittenNorReadAtAnOffset() throws {
    let (_, _, queue) = try makeQueue()
    #expect(queue.errno { (queue) throws(Refusal) in try queue.write([1, 2]) } == .EINVAL)
    #expect(
      queue.errno { (queue) throws(Refusal) in _ = try queue.read(12, offset: 1) } == .ESPIPE)
  }

  @Test func badRequestsMakeNoQueue() throws {
    func refusal(
      _ viommu: UInt32, depth: UInt32, type: UInt32 = IOMMU_VEVENTQ_TYPE_SELFTEST,
      flags: UInt32 = 0, reserved: UInt32 = 0
    ) -> Errno? {
      client.errno { () throws(Refusal) in
        var argument = iommu_veventq_alloc()
        argument.flags = flags
        argument.viommu_id = viommu
        argument.type = type
        argument.veventq_depth = depth
        argument.reserved = reserved
        try client.call(IOMMUFD_CMD_VEVENTQ_ALLOC, &argument)
      }
    }
    #expect(refusal(nesting.viommu, depth: 1, type: 0) == .EOPNOTSUPP)
    #expect(refusal(nesting.viommu, depth: 1, flags: 1) == .EOPNOTSUPP)
    #expect(refusal(nesting.viommu, depth: 1, reserved: 1) == .EOPNOTSUPP)
    #expect(refusal(nesting.viommu, depth: 0) == .EINVAL)
    #expect(refusal(nesting.viommu, depth: 1 << 19 + 1) == .EINVAL)
    #expect(refusal(nesting.parent, depth: 1) == .ENOENT)
    #expect(refusal(nesting.viommu, depth: 1 << 19) == nil)
    #expect(refusal(nesting.viommu, depth: 1) == .EEXIST)
  }

  @Test func aQueueLivesUntilItsFileIsClosed() throws {
    try nesting.attach()
    let (id, number, _) = try makeQueue()
    func refusal(_ id: UInt32) -> Errno? {
      client.errno { () throws(Refusal) in try client.destroy(id) }
    }
    #expect(refusal(id) == .EBUSY)
    #expect(refusal(nesting.viommu) == .EBUSY)
    client.close(number)
    #expect(refusal(nesting.viommu) == .EBUSY)
    try trigger()
    #expect(refusal(id) == nil)
    #expect(client.errno { () throws(Refusal) in try trigger() } == .EOPNOTSUPP)
    let (again, _, _) = try makeQueue()
    #expect(again == id)
  }
}
