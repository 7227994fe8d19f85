import CKernelABI
import Clients
import IOMMUFD
import TestSupport
import Testing

/// What is left when queues and contexts end in every order. Files are held only as long as a
/// client would hold them: the machine's census counts what anyone still refers to.
@Suite("Ends of queues")
struct QueueLifetimeTests {
  let client: Client
  let nesting: Nesting

  init() throws {
    client = try Client()
    nesting = try Nesting(client)
  }

  private func fault(_ group: UInt32) throws(Refusal) {
    try client.test(IOMMU_TEST_OP_TRIGGER_IOPF) {
      unsafe $0.trigger_iopf.dev_id = nesting.device
      unsafe $0.trigger_iopf.grpid = group
    }
  }

  private func event() throws(Refusal) {
    try client.test(IOMMU_TEST_OP_TRIGGER_VEVENT) {
      unsafe $0.trigger_vevent.dev_id = nesting.device
    }
  }

  /// A fault queue with a device below it, one fault outstanding and one waiting.
  private func makeFaultQueue() throws -> UInt32 {
    let queue = try client.makeFaultQueue()
    let table = try client.makeNested(nesting.device, nesting.viommu, faults: queue.id)
    try client.replace(nesting.object, table)
    try fault(1)
    #expect(try QueueFile(client, queue.descriptor).read(40).count == 10)
    try fault(2)
    return queue.descriptor
  }

  @Test func everythingClosedLeavesNothing() throws {
    _ = try makeFaultQueue()
    _ = try client.makeEventQueue(nesting.viommu, depth: 1)
    for _ in 0..<3 { try event() }
    client.close()
    #expect(client.leftovers == [:])
  }

  @Test func aFaultQueueClosedFirstStillTakesFaults() throws {
    client.close(try makeFaultQueue())
    try fault(3)
    client.close()
    #expect(client.leftovers == [:])
  }

  @Test func aFaultQueueKeepsItsContext() throws {
    try { () throws in
      let number = try makeFaultQueue()
      let queue = try QueueFile(client, number)
      client.close(keeping: number)
      #expect(client.leftovers["contexts"] == 1)
      #expect(try queue.read(40).last == 2)
      #expect(try queue.write([1, 0, 2, 1]) == 16)
      queue.file.release()
    }()
    #expect(client.leftovers == [:])
  }

  @Test func anEventQueueKeepsItsContext() throws {
    try { () throws in
      let number = try client.makeEventQueue(nesting.viommu, depth: 4).descriptor
      let queue = try QueueFile(client, number)
      try nesting.attach()
      try event()
      client.close(keeping: number)
      #expect(client.leftovers["contexts"] == 1)
      #expect(try queue.read(64) == [0, 0, 0x99])
      queue.file.release()
    }()
    #expect(client.leftovers == [:])
  }

  @Test func theLastOfSeveralQueuesEndsTheContext() throws {
    try { () throws in
      let events = try client.makeEventQueue(nesting.viommu, depth: 4).descriptor
      let faults = try makeFaultQueue()
      let files = [try QueueFile(client, events).file, try QueueFile(client, faults).file]
      client.close(keeping: events, faults)
      files[0].release()
      #expect(client.leftovers["contexts"] == 1)
      files[1].release()
    }()
    #expect(client.leftovers == [:])
  }

  @Test func anUndeliverableNumberLeavesNoQueue() throws {
    // The answer of both allocations ends at memory that cannot be written.
    client.process.map(0x6000_0000, byteCount: 0x1000)
    let before = client.file.context.snapshot
    let census = client.leftovers
    for number in [IOMMUFD_CMD_FAULT_QUEUE_ALLOC, IOMMUFD_CMD_VEVENTQ_ALLOC] {
      var bytes = [UInt8](repeating: 0, count: 32)
      if number == IOMMUFD_CMD_VEVENTQ_ALLOC {
        bytes =
          littleEndian(UInt32(32)) + littleEndian(UInt32(0)) + littleEndian(nesting.viommu)
          + littleEndian(IOMMU_VEVENTQ_TYPE_SELFTEST) + littleEndian(UInt32(4)) + bytes[20...]
      } else {
        bytes.replaceSubrange(0..<4, with: littleEndian(UInt32(16)))
      }
      client.process.unmap(0x6000_0000)
      client.process.map(0x6000_0000, byteCount: 0x1000)
      try client.caller.store(bytes, at: 0x6000_0000)
      client.process.unmap(0x6000_0000)
      client.process.map(0x6000_0000, byteCount: 0x1000, isWritable: false)
      let refusal = client.errno { () throws(Refusal) in
        _ = try client.file.ioctl(0x3b00 | number, 0x6000_0000, caller: client.caller)
      }
      #expect(refusal == .EFAULT)
      #expect(client.file.context.snapshot == before)
    }
    #expect(client.leftovers == census)
    #expect(client.caller.installed.isEmpty)
  }

  @Test func aQueueThatCannotBeInstalledIsUndone() throws {
    let before = client.file.context.snapshot
    let numbers = [
      try client.makeFaultQueue().descriptor,
      try client.makeEventQueue(nesting.viommu, depth: 1).descriptor,
    ]
    for number in numbers {
      // As the host does when the client has no room for another descriptor.
      client.file(number)?.installationFailed()
      client.close(number)
    }
    #expect(client.file.context.snapshot == before)
    client.close()
    #expect(client.leftovers == [:])
  }
}
