import CKernelABI
import Clients
import Hardware
import IOMMUFD
import Machine
import TestSupport
import Testing

/// Another process that has the client's descriptors, as after a fork.
final class Peer {
  private static var argumentAddress: UInt64 { 0x7000_0000 }
  let client: Client
  let process: SimulatedProcess
  let caller: SimulatedCaller

  init(of client: Client, userID: UInt32 = 1000) {
    self.client = client
    process = SimulatedProcess(memory: client.machine.physicalMemory)
    process.userID = userID
    process.map(Self.argumentAddress, byteCount: 0x1000)
    process.map(Client.buffer, byteCount: 0x10_0000)
    caller = SimulatedCaller(process)
  }

  func call<Argument>(_ number: UInt32, _ argument: inout Argument) throws(Refusal) {
    var bytes = unsafe withUnsafeBytes(of: argument) { unsafe Array($0) }
    bytes.replaceSubrange(0..<4, with: littleEndian(UInt32(bytes.count)))
    try caller.store(bytes, at: Self.argumentAddress)
    _ = try client.file.ioctl(0x3b00 | number, Self.argumentAddress, caller: caller)
    try caller.load(into: &bytes, at: Self.argumentAddress)
    argument = unsafe bytes.withUnsafeBytes { unsafe $0.loadUnaligned(as: Argument.self) }
  }

  func map(_ space: UInt32, _ address: UInt64, _ length: UInt64) throws(Refusal) {
    var argument = iommu_ioas_map()
    argument.ioas_id = space
    argument.flags = 6
    argument.user_va = address
    argument.length = length
    try call(IOMMUFD_CMD_IOAS_MAP, &argument)
  }

  func changeProcess() throws(Refusal) {
    var argument = iommu_ioas_change_process()
    try call(IOMMUFD_CMD_IOAS_CHANGE_PROCESS, &argument)
  }
}

@Suite("Accounting of pinned memory")
struct AccountingTests {
  let client: Client
  var process: SimulatedProcess { client.process }

  init() throws { client = try Client() }

  private func refusal(_ body: () throws(Refusal) -> Void) -> Errno? { client.errno(body) }

  /// A space with a device; accounting by process instead of by user where asked for.
  private func makeSpace(byProcess: Bool = false) throws -> UInt32 {
    if byProcess {
      process.capabilities = [.administerResources]
      try client.option(IOMMU_OPTION_RLIMIT_MODE, 0, set: 1)
      process.capabilities = []
    }
    let space = try client.makeSpace()
    _ = try client.makeDevice(on: space)
    return space
  }

  @Test("beyond the limit a map call leaves nothing", arguments: [false, true])
  func limit(byProcess: Bool) throws {
    let space = try makeSpace(byProcess: byProcess)
    process.lockedMemoryLimit = 6
    let first = try client.map(space, Client.buffer, 0x4000)
    #expect(process.pinnedPages == 4)
    #expect(process.lockedPages == (byProcess ? 4 : 0))
    let before = client.file.context.snapshot
    let census = client.leftovers
    #expect(
      refusal { () throws(Refusal) in try client.map(space, Client.buffer, 0x3000) } == .ENOMEM)
    #expect(client.file.context.snapshot == before)
    #expect(client.leftovers == census)
    #expect(process.pinnedPages == 4)
    #expect(process.lockedPages == (byProcess ? 4 : 0))
    try client.checkRefs(Client.buffer, 0x4000, 1)
    try client.map(space, Client.buffer, 0x2000)
    try client.unmap(space, first, 0x4000)
    try client.map(space, Client.buffer, 0x4000)
    #expect(process.pinnedPages == 6)
    client.close()
    #expect(process.pinnedPages == 0)
    #expect(process.lockedPages == 0)
  }

  @Test func withoutATableNothingIsCounted() throws {
    let space = try client.makeSpace()
    process.lockedMemoryLimit = 2
    try client.map(space, Client.buffer, 0x4000, at: 16 << 20)
    #expect(process.pinnedPages == 0)
    let before = client.file.context.snapshot
    #expect(refusal { () throws(Refusal) in _ = try client.makeDevice(on: space) } == .ENOMEM)
    #expect(client.file.context.snapshot == before)
    #expect(process.pinnedPages == 0)
    try client.checkRefs(Client.buffer, 0x4000, 0)
    process.lockedMemoryLimit = 4
    _ = try client.makeDevice(on: space)
    #expect(process.pinnedPages == 4)
  }

  @Test func aCopyCountsNothingAndAnotherMappingDoes() throws {
    let space = try makeSpace()
    process.lockedMemoryLimit = 2
    let iova = try client.map(space, Client.buffer, 0x1000)
    try client.copy(space, iova, 0x1000, to: space)
    #expect(process.pinnedPages == 1)
    try client.map(space, Client.buffer, 0x1000)
    #expect(process.pinnedPages == 2)
    #expect(
      refusal { () throws(Refusal) in try client.map(space, Client.buffer, 0x1000) } == .ENOMEM)
    // The page stays pinned for the copy.
    try client.unmap(space, iova, 0x1000)
    #expect(process.pinnedPages == 2)
  }

  @Test func aCapabilityLiftsTheLimitButPinsAreSeen() throws {
    let space = try makeSpace()
    process.lockedMemoryLimit = 1
    process.capabilities = [.lockMemory]
    try client.map(space, Client.buffer, 0x4000)
    process.capabilities = []
    #expect(process.pinnedPages == 4)
    #expect(process.lockedPages == 0)
    // What the capability covered does not count against the limit.
    try client.map(space, Client.buffer, 0x1000)
    #expect(process.pinnedPages == 5)
    #expect(
      refusal { () throws(Refusal) in try client.map(space, Client.buffer, 0x1000) } == .ENOMEM)
    try client.unmap(space, 0, .max)
    #expect(process.pinnedPages == 0)
  }

  @Test func unreadableMemoryIsRefusedAndNothingCounted() throws {
    let space = try makeSpace()
    let end = Client.buffer + 0x10_0000
    #expect(
      refusal { () throws(Refusal) in try client.map(space, end - 0x4000, 0x5000) } == .EFAULT)
    #expect(process.pinnedPages == 0)
    try client.checkRefs(end - 0x4000, 0x4000, 0)
  }

  @Test func onlyWithTheCapabilityAndBeforeAnyObjectIsTheModeSet() throws {
    func set(_ value: UInt64) -> Errno? {
      refusal { () throws(Refusal) in
        try client.option(IOMMU_OPTION_RLIMIT_MODE, 0, set: value)
      }
    }
    #expect(try client.option(IOMMU_OPTION_RLIMIT_MODE, 0) == 0)
    #expect(set(1) == .EPERM)
    process.capabilities = [.administerResources]
    #expect(set(2) == .EINVAL)
    #expect(set(1) == nil)
    #expect(try client.option(IOMMU_OPTION_RLIMIT_MODE, 0) == 1)
    let space = try client.makeSpace()
    #expect(set(0) == .EBUSY)
    #expect(set(2) == .EBUSY)
    try client.destroy(space)
    #expect(set(0) == nil)
    #expect(
      refusal { () throws(Refusal) in _ = try client.option(IOMMU_OPTION_RLIMIT_MODE, 1) }
        == .EOPNOTSUPP)
  }

  @Test("processes of a user share one limit unless it is by process", arguments: [false, true])
  func sharing(byProcess: Bool) throws {
    let space = try makeSpace(byProcess: byProcess)
    let peer = Peer(of: client)
    process.lockedMemoryLimit = 4
    peer.process.lockedMemoryLimit = 4
    try client.map(space, Client.buffer, 0x3000)
    let answer = refusal { () throws(Refusal) in try peer.map(space, Client.buffer, 0x2000) }
    #expect(answer == (byProcess ? nil : .ENOMEM))
    #expect(process.pinnedPages == 3)
    #expect(peer.process.pinnedPages == (byProcess ? 2 : 0))
    #expect(peer.process.lockedPages == (byProcess ? 2 : 0))
    try client.unmap(space, 0, .max)
    #expect(process.pinnedPages + peer.process.pinnedPages == 0)
    #expect(process.lockedPages + peer.process.lockedPages == 0)
  }

  @Test func anotherUserHasALimitOfItsOwn() throws {
    let space = try makeSpace()
    let peer = Peer(of: client, userID: 1001)
    process.lockedMemoryLimit = 4
    peer.process.lockedMemoryLimit = 4
    try client.map(space, Client.buffer, 0x4000)
    try peer.map(space, Client.buffer, 0x4000)
    #expect(
      refusal { () throws(Refusal) in try peer.map(space, Client.buffer, 0x1000) } == .ENOMEM)
    #expect((process.pinnedPages, peer.process.pinnedPages) == (4, 4))
  }
}

@Suite("Changing the process")
struct ChangeProcessTests {
  let client: Client
  let file: SimulatedFile
  var process: SimulatedProcess { client.process }

  init() throws {
    client = try Client()
    file = SimulatedFile(byteCount: 0x10000, memory: client.machine.physicalMemory)
    client.caller.descriptors[50] = .foreign(PassedFile(memory: file.source, handle: file))
  }

  private func refusal(_ body: () throws(Refusal) -> Void) -> Errno? { client.errno(body) }

  private func makeSpace() throws -> UInt32 {
    let space = try client.makeSpace()
    _ = try client.makeDevice(on: space)
    return space
  }

  @Test func itMovesTheAccount() throws {
    let space = try makeSpace()
    let iova = try client.mapFile(space, 50, 0, 0x3000)
    try client.copy(space, iova, 0x1000, to: space)
    let peer = Peer(of: client, userID: 1001)
    try peer.changeProcess()
    #expect((process.pinnedPages, peer.process.pinnedPages) == (0, 3))
    try peer.changeProcess()
    #expect(peer.process.pinnedPages == 3)
    #expect(try client.unmap(space, iova, 0x3000) == 0x3000)
    #expect(peer.process.pinnedPages == 1)
    client.close()
    #expect((process.pinnedPages, peer.process.pinnedPages) == (0, 0))
    #expect(client.leftovers == [:])
  }

  @Test func inProcessModeLockedPagesMoveToo() throws {
    process.capabilities = [.administerResources]
    try client.option(IOMMU_OPTION_RLIMIT_MODE, 0, set: 1)
    let space = try makeSpace()
    try client.mapFile(space, 50, 0, 0x3000)
    #expect((process.pinnedPages, process.lockedPages) == (3, 3))
    let peer = Peer(of: client)
    peer.process.lockedMemoryLimit = 2
    #expect(refusal { () throws(Refusal) in try peer.changeProcess() } == .ENOMEM)
    #expect((process.pinnedPages, process.lockedPages) == (3, 3))
    #expect((peer.process.pinnedPages, peer.process.lockedPages) == (0, 0))
    peer.process.lockedMemoryLimit = 3
    try peer.changeProcess()
    #expect((process.pinnedPages, process.lockedPages) == (0, 0))
    #expect((peer.process.pinnedPages, peer.process.lockedPages) == (3, 3))
    try client.unmap(space, 0, .max)
    #expect((peer.process.pinnedPages, peer.process.lockedPages) == (0, 0))
  }

  @Test func theNewAccountIsChargedBeforeTheOldOneIsRelieved() throws {
    let space = try makeSpace()
    try client.mapFile(space, 50, 0, 0x3000)
    let peer = Peer(of: client)
    peer.process.lockedMemoryLimit = 5
    #expect(refusal { () throws(Refusal) in try peer.changeProcess() } == .ENOMEM)
    #expect((process.pinnedPages, peer.process.pinnedPages) == (3, 0))
    peer.process.lockedMemoryLimit = 6
    try peer.changeProcess()
    #expect((process.pinnedPages, peer.process.pinnedPages) == (0, 3))
  }

  @Test func mappedProcessMemoryForbidsIt() throws {
    let spaces = [try makeSpace(), try makeSpace()]
    try client.mapFile(spaces[0], 50, 0, 0x3000)
    let iova = try client.map(spaces[1], Client.buffer, 0x1000)
    let peer = Peer(of: client)
    #expect(refusal { () throws(Refusal) in try peer.changeProcess() } == .EINVAL)
    #expect((process.pinnedPages, peer.process.pinnedPages) == (4, 0))
    try client.unmap(spaces[1], iova, 0x1000)
    try peer.changeProcess()
    #expect((process.pinnedPages, peer.process.pinnedPages) == (0, 3))
  }

  @Test func aFileIsPinnedByItsOwnPages() throws {
    let space = try makeSpace()
    process.map(0x4000_0000, byteCount: 0x10000, file: file)
    let iova = try client.mapFile(space, 50, 0x2000, 0x3000)
    try client.map(space, 0x4000_3000, 0x1000)
    try client.checkRefs(0x4000_2000, 0x1000, 1)
    try client.checkRefs(0x4000_3000, 0x1000, 2)
    #expect(file.source.pinCount(page: 3) == 2)
    // The file stays open for its mapping when the client closes it.
    client.caller.descriptors[50] = nil
    #expect(try client.unmap(space, iova, 0x3000) == 0x3000)
    #expect(file.source.pinCount(page: 3) == 1)
    #expect(
      refusal { () throws(Refusal) in try client.mapFile(space, 50, 0, 0x1000) } == .EBADF)
  }
}
