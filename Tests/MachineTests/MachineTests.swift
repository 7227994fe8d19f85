import CKernelABI
import Clients
import Hardware
import IOMMUFD
import Machine
import TestSupport
import Testing

@Suite("A machine seen by one client")
struct MachineTests {
  @Test func numbersAreTheLowestFreeOnes() throws {
    let client = try Client()
    #expect(try client.makeSpace() == 1)
    #expect(try client.makeSpace() == 2)
    let device = try client.makeDevice(on: 1)
    #expect(device == (3, 5, 4))
    try client.destroy(2)
    #expect(try client.makeSpace() == 2)
    #expect(client.errno { () throws(Refusal) in try client.destroy(device.device) } == .EBUSY)
    try client.destroy(device.object)
    #expect(client.errno { () throws(Refusal) in try client.destroy(device.table) } == .ENOENT)
  }

  @Test func withoutTheMockUnitThereAreNoTestCommands() throws {
    let client = try Client(.bare)
    let space = try client.makeSpace()
    #expect(
      client.errno { () throws(Refusal) in _ = try client.makeDevice(on: space) } == .ENOTTY)
    let iova = try client.map(space, Client.buffer, 0x3000)
    #expect(try client.unmap(space, iova, 0x3000) == 0x3000)
  }

  @Test func aClosedContextLeavesNothing() throws {
    let client = try Client()
    let space = try client.makeSpace()
    _ = try client.makeDevice(on: space)
    try client.map(space, Client.buffer, 0x8000)
    #expect(client.process.pinnedPages == 8)
    client.close()
    #expect(client.leftovers == [:])
    #expect(client.process.pinnedPages == 0)
  }

  @Test func aPageIsPinnedOnceForEachMapCall() throws {
    let client = try Client()
    let space = try client.makeSpace()
    _ = try client.makeDevice(on: space)
    let first = try client.map(space, Client.buffer, 0x4000)
    try client.map(space, Client.buffer, 0x4000)
    let page = Client.buffer >> pageShift
    #expect(client.process.privateMemory.pinCount(page: page) == 2)
    try client.unmap(space, first, 0x4000)
    #expect(client.process.privateMemory.pinCount(page: page) == 1)
  }

  @Test func unmapRemovesWhatComesBeforeACutMapping() throws {
    let client = try Client()
    let space = try client.makeSpace()
    try client.map(space, Client.buffer, 0x1000, at: 0x10000)
    try client.map(space, Client.buffer, 0x2000, at: 0x11000)
    #expect(
      client.errno { () throws(Refusal) in try client.unmap(space, 0x10000, 0x2000) } == .ENOENT)
    #expect(try client.unmap(space, 0, .max) == 0x2000)
  }

  @Test func aReservedRangeMovesTheChosenIOVA() throws {
    let client = try Client()
    let space = try client.makeSpace()
    #expect(try client.map(space, Client.buffer, 0x1000) == 0x1000)
    #expect(try client.map(space, Client.buffer + 0x1000, 0x1000) == 0x2000)
    #expect(try client.map(space, Client.buffer + 0x123, 1) == 0x3123)
    #expect(try client.map(space, Client.buffer, 0x4000) == 0x4000)
  }

  @Test func memoryOfADeadProcessIsAFault() throws {
    let client = try Client()
    let space = try client.makeSpace()
    try client.map(space, Client.buffer, 0x1000, at: 16 << 20)
    _ = try client.makeDevice(on: space)
    client.close()
    #expect(client.leftovers == [:])
  }
}

/// Every fallible step of a call fails once; each time the machine equals the one before the call.
@Suite("Error paths")
struct FailureSweepTests {
  struct Scenario: CustomTestStringConvertible, Sendable {
    var name: String
    /// Whether the call has another way to succeed when a step fails: an automatic table that does
    /// not suit the device is replaced by a new one.
    var hasAnotherWay = false
    var call: @Sendable (Client, UInt32, UInt32) throws -> Void
    var testDescription: String { name }
  }

  static let scenarios = [
    Scenario(name: "IOAS_ALLOC") { client, _, _ in _ = try client.makeSpace() },
    Scenario(name: "MAP with two domains") { client, space, _ in
      try client.map(space, Client.buffer + 0x40000, 0x3000)
    },
    Scenario(name: "plugging in a device", hasAnotherWay: true) { client, space, _ in
      _ = try client.makeDevice(on: space)
    },
    Scenario(name: "HWPT_ALLOC") { client, space, device in
      var argument = iommu_hwpt_alloc()
      argument.dev_id = device
      argument.pt_id = space
      argument.flags = IOMMU_HWPT_ALLOC_NEST_PARENT
      try client.call(IOMMUFD_CMD_HWPT_ALLOC, &argument)
    },
    Scenario(name: "COPY") { client, space, _ in
      var argument = iommu_ioas_copy()
      argument.flags = 6
      argument.src_ioas_id = space
      argument.dst_ioas_id = space
      argument.src_iova = 17 << 20
      argument.length = 0x2000
      try client.call(IOMMUFD_CMD_IOAS_COPY, &argument)
    },
    Scenario(name: "CREATE_ACCESS") { client, space, _ in
      var argument = iommu_test_cmd()
      argument.op = IOMMU_TEST_OP_CREATE_ACCESS
      argument.id = space
      unsafe argument.arguments.create_access.flags = 1
      try client.call(IOMMUFD_CMD_TEST, &argument)
    },
    Scenario(name: "FAULT_QUEUE_ALLOC") { client, _, _ in
      var argument = iommu_fault_alloc()
      try client.call(IOMMUFD_CMD_FAULT_QUEUE_ALLOC, &argument)
    },
    Scenario(name: "UNMAP") { client, space, _ in try client.unmap(space, 17 << 20, 0x2000) },
    Scenario(name: "DESTROY of a device") { client, _, _ in try client.destroy(2) },
  ]

  @Test("a failure at any step leaves nothing behind", arguments: scenarios)
  func sweep(scenario: Scenario) throws {
    for step in 1...200 as ClosedRange<UInt32> {
      let client = try Client()
      let space = try client.makeSpace()
      let device = try client.makeDevice(on: space)
      let second = try client.makeDevice(on: space)
      _ = second
      try client.map(space, Client.buffer, 0x2000, at: 17 << 20)
      let before = client.file.context.snapshot
      let census = client.leftovers
      let pinned = client.process.pinnedPages

      let injection = client.machine.failNthFile(of: client.process, thread: 1)
      try write("\(step)", to: injection, client)
      let failed = (try? scenario.call(client, space, device.device)) == nil
      let left = try read(injection, client)
      try write("0", to: injection, client)
      guard left == "0\n" else {
        #expect(!failed, "\(scenario.name) failed although no step was left to fail")
        return
      }
      guard failed else {
        #expect(scenario.hasAnotherWay, "step \(step) failed and the call did not")
        continue
      }
      #expect(client.file.context.snapshot == before, "step \(step)")
      #expect(client.leftovers == census, "step \(step)")
      #expect(client.process.pinnedPages == pinned, "step \(step)")
      client.close()
      #expect(client.leftovers == [:], "step \(step)")
    }
    Issue.record("the call never succeeded")
  }

  private func write(_ text: String, to file: any MachineFile, _ client: Client) throws {
    try client.caller.store(Array(text.utf8), at: 0x7000_8000)
    _ = try file.write(
      0x7000_8000, count: UInt64(text.utf8.count), offset: 0, caller: client.caller)
  }

  private func read(_ file: any MachineFile, _ client: Client) throws -> String {
    let count = try file.read(0x7000_8000, count: 16, offset: 0, caller: client.caller)
    var bytes = [UInt8](repeating: 0, count: Int(count))
    try client.caller.load(into: &bytes, at: 0x7000_8000)
    return String(decoding: bytes, as: UTF8.self)
  }
}
