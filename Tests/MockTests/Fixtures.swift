import Hardware
import IOMMUCore
import Testing

@testable import Mock

/// The caller's memory: bytes from one address on, and nothing elsewhere.
final class FakeMemory: UserMemory {
  static let base: UInt64 = 0x10_000
  var bytes: [UInt8]
  var isWritable = true

  init(_ words: [UInt32]) {
    bytes = words.flatMap { littleEndianBytes($0) }
  }

  func word(_ index: Int) -> UInt32 {
    (0..<4).reduce(0) { $0 | UInt32(bytes[index * 4 + $1]) << UInt32($1 * 8) }
  }

  func read(
    at address: UInt64, into target: UnsafeMutableRawBufferPointer
  ) throws(MemoryFault) {
    let start = try offset(of: address, byteCount: target.count)
    for index in 0..<target.count { unsafe target[index] = bytes[start + index] }
  }

  func write(at address: UInt64, from source: UnsafeRawBufferPointer) throws(MemoryFault) {
    guard isWritable else { throw .notAccessible }
    let start = try offset(of: address, byteCount: source.count)
    for index in 0..<source.count { bytes[start + index] = unsafe source[index] }
  }

  private func offset(of address: UInt64, byteCount: Int) throws(MemoryFault) -> Int {
    guard address >= Self.base, address - Self.base + UInt64(byteCount) <= bytes.count else {
      throw .notAccessible
    }
    return Int(address - Self.base)
  }

  func data(type: UInt32, byteCount: Int? = nil) -> UserData {
    UserData(
      type: type, address: Self.base, byteCount: UInt32(byteCount ?? bytes.count), in: self)
  }

  func array(type: UInt32, entryBytes: UInt32, entryCount: UInt32) -> UserDataArray {
    UserDataArray(
      type: type, address: Self.base, entryBytes: entryBytes, entryCount: entryCount, in: self)
  }
}

/// What IOMMUFD is to a virtual IOMMU.
final class FakeHost: VirtualIOMMUHost {
  var devices: [UInt64: MockDevice] = [:]
  var mappings: [VirtualIOMMUMapping] = []
  var isMappingRefused = false
  var events: [(type: UInt32, bytes: [UInt8])] = []

  deinit {
    for mapping in mappings { unsafe mapping.bytes.deallocate() }
  }

  func device(virtualID: UInt64) -> (any TranslatedDevice)? { devices[virtualID] }
  func virtualID(of device: any TranslatedDevice) -> UInt64? {
    devices.first { $0.value === device }?.key
  }

  func allocateMapping(byteCount: UInt64) throws(DriverError) -> VirtualIOMMUMapping {
    guard !isMappingRefused else { throw DriverError(.outOfMemory, because: "the test says so") }
    let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: Int(byteCount), alignment: 4096)
    unsafe bytes.initializeMemory(as: UInt8.self, repeating: 0)
    let mapping = unsafe VirtualIOMMUMapping(offset: 0x7000_0000, bytes: bytes)
    mappings.append(mapping)
    return mapping
  }

  func freeMapping(_ mapping: VirtualIOMMUMapping) {
    guard let index = mappings.firstIndex(where: { $0.offset == mapping.offset }) else {
      Issue.record("a mapping was freed that does not exist")
      return
    }
    unsafe mappings.remove(at: index).bytes.deallocate()
  }

  func report(_ event: [UInt8], type: UInt32) throws(DriverError) {
    events.append((type, event))
  }
}

final class IgnoringHandler: PageRequestHandler {
  func handle(_ group: PageRequestGroup) {}
}

/// A unit with one device.
struct Bench {
  let failures: FailurePlan
  let unit: MockUnit
  let device: MockDevice

  init(flags: MockDeviceFlags = []) throws {
    failures = FailurePlan()
    unit = MockUnit(failures: failures)
    device = try unit.makeDevice(flags: flags)
  }

  func domain(_ kind: MockTableKind = .standard, dirty: Bool = false) throws -> MockPagingDomain {
    let data = FakeMemory([0, kind.rawValue]).data(type: 0xdead)
    let domain = try device.allocatePagingDomain(dirty ? .dirtyTracking : [], data)
    return try #require(domain as? MockPagingDomain)
  }

  func nested(iotlb: UInt32 = 0xbad_beef) throws -> MockNestedDomain {
    let data = FakeMemory([iotlb]).data(type: 0xdead)
    let nested = try device.allocateNestedDomain(on: domain(), [], data)
    return try #require(nested as? MockNestedDomain)
  }

  func virtualIOMMU(
    _ data: UserData? = nil, parent: PagingDomain? = nil, host: FakeHost
  ) throws -> MockVirtualIOMMU {
    let parent = try parent ?? domain()
    let made = try device.allocateVirtualIOMMU(
      type: 0xdead_beef, parent: parent, data, host: host)
    return try #require(made as? MockVirtualIOMMU)
  }
}

/// The kind of error a call ends with, or nil.
func refusal(_ body: () throws -> Void) -> DriverError.Kind? {
  do {
    try body()
    return nil
  } catch let error as DriverError {
    return error.kind
  } catch {
    Issue.record(error)
    return nil
  }
}

extension PagingDomain {
  func map(
    _ iova: UInt64, _ physical: UInt64, _ byteCount: UInt64, _ access: Access = [.read, .write]
  ) throws(DriverError) {
    try map(
      IOVirtualAddress(iova), to: PhysicalAddress(physical), byteCount: byteCount, access: access)
  }

  func unmap(_ iova: UInt64, _ byteCount: UInt64) {
    unmap(IOVirtualAddress(iova), byteCount: byteCount)
  }

  func physical(_ iova: UInt64) -> UInt64? {
    physicalAddress(of: IOVirtualAddress(iova))?.rawValue
  }

  func dirtyLeaves(_ iova: UInt64, _ byteCount: UInt64, clear: Bool) throws -> [ClosedRange<UInt64>]
  {
    var leaves: [ClosedRange<UInt64>] = []
    try readDirty(IOVirtualAddress(iova), byteCount: byteCount, clear: clear) {
      leaves.append($0.rawValue...$0.rawValue + ($1 - 1))
    }
    return leaves
  }
}

/// All leaves of a domain in a range, in order.
func leaves(of domain: MockPagingDomain, _ iova: UInt64, _ byteCount: UInt64) -> [MockLeaf] {
  var leaves: [MockLeaf] = []
  var address = iova
  while address < iova + byteCount {
    if let leaf = domain.leaf(at: IOVirtualAddress(address)) {
      leaves.append(leaf)
      address = leaf.start.rawValue + leaf.byteCount
    } else {
      address += 2048
    }
  }
  return leaves
}
