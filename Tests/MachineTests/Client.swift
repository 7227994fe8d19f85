import CKernelABI
import Clients
import Hardware
import IOMMUFD
import Machine
import TestSupport

/// A client in the test's own process: it opens /dev/iommu of a machine and calls it.
final class Client {
  let provider = SimulatedPagesProvider()
  let machine: Machine
  let process: SimulatedProcess
  let caller: SimulatedCaller
  let file: IOMMUFDFile
  private static var argumentAddress: UInt64 { 0x7000_0000 }
  static var buffer: UInt64 { 0x1000_0000 }

  init(_ description: MachineDescription = .mock) throws {
    machine = Machine(description, sharedPages: provider)
    process = SimulatedProcess(memory: machine.physicalMemory)
    process.map(Self.argumentAddress, byteCount: 0x10000)
    process.map(Self.buffer, byteCount: 0x10_0000)
    caller = SimulatedCaller(process)
    guard let file = try machine.open("/dev/iommu", caller: caller) as? IOMMUFDFile else {
      throw Errno.ENOENT
    }
    self.file = file
  }

  private var isOpen = true

  deinit { close() }

  /// Closes every descriptor, as the end of a process does.
  func close() {
    guard isOpen else { return }
    isOpen = false
    for installed in caller.installed { caller.close(installed.number) }
    file.release()
  }

  /// Calls a command; the argument comes back as the client would find it.
  @discardableResult
  func call<Argument>(_ number: UInt32, _ argument: inout Argument) throws(Refusal) -> Int64 {
    var bytes = unsafe withUnsafeBytes(of: argument) { unsafe Array($0) }
    let size = UInt32(bytes.count)
    for index in 0..<4 { bytes[index] = UInt8(truncatingIfNeeded: size >> (8 * UInt32(index))) }
    try caller.store(bytes, at: Self.argumentAddress)
    machine.beginCall(of: process, thread: 1)
    defer { machine.endCall(of: process, thread: 1) }
    let result = try file.ioctl(0x3b00 | number, Self.argumentAddress, caller: caller)
    var answer = bytes
    try caller.load(into: &answer, at: Self.argumentAddress)
    argument = unsafe answer.withUnsafeBytes { unsafe $0.loadUnaligned(as: Argument.self) }
    return result
  }

  func makeSpace() throws(Refusal) -> UInt32 {
    var argument = iommu_ioas_alloc()
    try call(IOMMUFD_CMD_IOAS_ALLOC, &argument)
    return argument.out_ioas_id
  }

  /// Plugs a mock device in; its own number, its table's and its number as a device.
  func makeDevice(on table: UInt32) throws(Refusal) -> (
    object: UInt32, table: UInt32, device: UInt32
  ) {
    var argument = iommu_test_cmd()
    argument.op = IOMMU_TEST_OP_MOCK_DOMAIN
    argument.id = table
    try call(IOMMUFD_CMD_TEST, &argument)
    return unsafe (
      argument.arguments.mock_domain.out_stdev_id, argument.arguments.mock_domain.out_hwpt_id,
      argument.arguments.mock_domain.out_idev_id
    )
  }

  @discardableResult
  func map(
    _ space: UInt32, _ address: UInt64, _ length: UInt64, at iova: UInt64? = nil, flags: UInt32 = 6
  ) throws(Refusal) -> UInt64 {
    var argument = iommu_ioas_map()
    argument.ioas_id = space
    argument.flags = flags | (iova == nil ? 0 : IOMMU_IOAS_MAP_FIXED_IOVA)
    argument.user_va = address
    argument.length = length
    argument.iova = iova ?? 0
    try call(IOMMUFD_CMD_IOAS_MAP, &argument)
    return argument.iova
  }

  @discardableResult
  func unmap(_ space: UInt32, _ iova: UInt64, _ length: UInt64) throws(Refusal) -> UInt64 {
    var argument = iommu_ioas_unmap()
    argument.ioas_id = space
    argument.iova = iova
    argument.length = length
    try call(IOMMUFD_CMD_IOAS_UNMAP, &argument)
    return argument.length
  }

  func destroy(_ id: UInt32) throws(Refusal) {
    var argument = iommu_destroy()
    argument.id = id
    try call(IOMMUFD_CMD_DESTROY, &argument)
  }

  func errno(_ body: () throws(Refusal) -> Void) -> Errno? {
    do throws(Refusal) {
      try body()
      return nil
    } catch {
      return error.errno
    }
  }

  /// What the machine still holds, by name, without what is zero.
  var leftovers: [String: Int] {
    Dictionary(
      uniqueKeysWithValues: machine.census.filter { $0.count != 0 }.map { ($0.name, $0.count) })
  }
}
