import CKernelABI
import Clients
import TestSupport

/// A device with everything that nesting needs: parent, virtual IOMMU and name.
struct Nesting {
  let client: Client
  let space: UInt32
  let object: UInt32
  let device: UInt32
  let parent: UInt32
  let viommu: UInt32
  let virtualDevice: UInt32

  init(_ client: Client, named name: UInt64 = 0x99) throws {
    self.client = client
    space = try client.makeSpace()
    let device = try client.makeDevice(on: space)
    object = device.object
    self.device = device.device
    parent = try client.makeTable(
      device.device, space, flags: IOMMU_HWPT_ALLOC_NEST_PARENT)
    viommu = try client.makeVirtualIOMMU(device.device, parent)
    virtualDevice = try client.makeVirtualDevice(viommu, device.device, named: name)
  }

  /// Attaches the device below the virtual IOMMU; the nested table.
  @discardableResult
  func attach() throws -> UInt32 {
    try client.replace(object, try client.makeNested(device, viommu))
  }
}

/// A queue's file, as the client holds it.
struct QueueFile {
  static var address: UInt64 { 0x7100_0000 }
  let client: Client
  let file: any MachineFile

  init(_ client: Client, _ descriptor: UInt32) throws {
    self.client = client
    guard let file = client.file(descriptor) else { throw Errno.EBADF }
    self.file = file
    if !client.process.mappings.contains(where: { $0.range.lowerBound == Self.address }) {
      client.process.map(Self.address, byteCount: 0x4000)
    }
  }

  /// What a read delivers, in words.
  func read(
    _ count: UInt64, at address: UInt64 = address, offset: UInt64? = nil
  ) throws(Refusal) -> [UInt32] {
    let done = try file.read(address, count: count, offset: offset, caller: client.caller)
    var words: [UInt32] = []
    for index in 0..<UInt64(done) / 4 { words.append(try client.word(address + index * 4)) }
    return words
  }

  /// How many bytes a read delivers, for places that cannot be read back.
  func readCount(_ count: UInt64, at address: UInt64) throws(Refusal) -> Int64 {
    try file.read(address, count: count, offset: nil, caller: client.caller)
  }

  @discardableResult
  func write(
    _ words: [UInt32], count: UInt64? = nil, offset: UInt64? = nil
  ) throws(Refusal) -> Int64 {
    try client.caller.store(words.flatMap { littleEndian($0) }, at: Self.address + 0x2000)
    return try file.write(
      Self.address + 0x2000, count: count ?? UInt64(words.count) * 4, offset: offset,
      caller: client.caller)
  }

  func errno(_ body: (Self) throws(Refusal) -> Void) -> Errno? {
    client.errno { () throws(Refusal) in try body(self) }
  }
}

/// Collects what a file says about its readability.
final class Readability {
  private(set) var changes: [Bool] = []

  init(of file: any MachineFile) {
    file.readabilityChanged = { [weak self] in self?.changes.append($0) }
  }

  /// The changes since the last question; what was said twice counts once.
  func take() -> [Bool] {
    defer { changes = [] }
    return changes.enumerated().filter { $0.offset == 0 || changes[$0.offset - 1] != $0.element }
      .map(\.element)
  }
}
