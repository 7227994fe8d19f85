import Hardware
import IOMMUCore
import Testing

@testable import Mock

@Suite("Mock virtual IOMMU")
struct VirtualIOMMUTests {
  @Test("only the mock's type is made")
  func type() throws {
    let bench = try Bench()
    #expect(bench.device.supportsVirtualIOMMU(type: 0xdead_beef))
    #expect(!bench.device.supportsVirtualIOMMU(type: 1))
    #expect(
      refusal {
        _ = try bench.device.allocateVirtualIOMMU(
          type: 1, parent: bench.domain(), nil, host: FakeHost())
      } == .notSupported)
  }

  @Test("the client's word comes back in the answer and in the page")
  func loopBack() throws {
    let host = FakeHost()
    let memory = FakeMemory([0xcafe_babe, 0, 0, 0, 0, 0])
    let virtualIOMMU = try Bench().virtualIOMMU(memory.data(type: 0xdead_beef), host: host)
    #expect((0..<6).map(memory.word) == [0xcafe_babe, 0xcafe_babe, 0x7000_0000, 0, 8192, 0])
    let mapping = try #require(host.mappings.first)
    #expect(unsafe mapping.bytes.count == 8192)
    #expect(unsafe Array(mapping.bytes[..<5]) == [0xbe, 0xba, 0xfe, 0xca, 0])
    virtualIOMMU.free()
    #expect(host.mappings.isEmpty)
  }

  @Test("without data there is no page")
  func noData() throws {
    let host = FakeHost()
    try Bench().virtualIOMMU(host: host).free()
    #expect(host.mappings.isEmpty)
  }

  @Test("an older client gets the part of the answer that it knows")
  func olderClient() throws {
    let memory = FakeMemory([3, 0, 0xaa, 0xaa, 0xaa, 0xaa])
    let data = memory.data(type: 0xdead_beef, byteCount: 8)
    let host = FakeHost()
    _ = try Bench().virtualIOMMU(data, host: host)
    #expect((0..<4).map(memory.word) == [3, 3, 0xaa, 0xaa])
    #expect(
      refusal {
        _ = try Bench().virtualIOMMU(memory.data(type: 0xdead_beef, byteCount: 4), host: host)
      } == .invalid)
    #expect(
      refusal { _ = try Bench().virtualIOMMU(memory.data(type: 1), host: host) } == .invalid)
    #expect(host.mappings.count == 1)
  }

  @Test("an answer that cannot be stored takes the page back")
  func undo() throws {
    let host = FakeHost()
    let memory = FakeMemory([3, 0, 0, 0, 0, 0])
    memory.isWritable = false
    #expect(
      refusal { _ = try Bench().virtualIOMMU(memory.data(type: 0xdead_beef), host: host) }
        == .badAddress)
    #expect(host.mappings.isEmpty)
    host.isMappingRefused = true
    memory.isWritable = true
    #expect(
      refusal { _ = try Bench().virtualIOMMU(memory.data(type: 0xdead_beef), host: host) }
        == .outOfMemory)
  }
}

@Suite("Mock hardware queues")
struct HardwareQueueTests {
  let host = FakeHost()
  let virtualIOMMU: MockVirtualIOMMU

  init() throws {
    let bench = try Bench()
    let parent = try bench.domain()
    try parent.map(0x4000_0000, 0x8_0000_0000, 8192)
    virtualIOMMU = try bench.virtualIOMMU(parent: parent, host: host)
  }

  func make(
    _ index: UInt32, _ address: UInt64 = 0x4000_1000, base: UInt64 = 0x8_0000_1000,
    type: UInt32 = 0xdead_beef
  ) throws -> MockHardwareQueue {
    let queue = try virtualIOMMU.allocateHardwareQueue(
      type: type, index: index, address: IOVirtualAddress(address), base: PhysicalAddress(base),
      byteCount: 4096)
    return try #require(queue as? MockHardwareQueue)
  }

  @Test("types")
  func types() {
    #expect(virtualIOMMU.supportsHardwareQueue(type: 0xdead_beef))
    #expect(!virtualIOMMU.supportsHardwareQueue(type: 0))
    #expect(refusal { _ = try make(0, type: 0) } == .notSupported)
  }

  @Test("queues come in order, two at most, each keeping the one before it")
  func order() throws {
    #expect(refusal { _ = try make(2) } == .invalid)
    #expect(refusal { _ = try make(1) } == .inputOutput)
    let first = try make(0)
    #expect(first.dependency == nil)
    #expect(refusal { _ = try make(0) } == .exists)
    let second = try make(1)
    #expect(second.dependency === first)
    // Linux 7.3's mock forgets which index a queue had: freeing one frees index 0 (iodiff,
    // viommu-6).
    second.free()
    #expect(refusal { _ = try make(1) } == .exists)
    #expect(try make(0).index == 0)
    first.free()
  }

  @Test("the base must be where the parent leads")
  func base() throws {
    #expect(refusal { _ = try make(0, base: 0x8_0000_0000) } == .badAddress)
    #expect(refusal { _ = try make(0, 0x5000_0000) } == .badAddress)
    _ = try make(0, 0x4000_0010, base: 0x8_0000_0010)
  }
}
