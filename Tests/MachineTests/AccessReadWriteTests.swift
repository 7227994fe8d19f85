import CKernelABI
import Clients
import Machine
import TestSupport
import Testing

@Suite("Reads and writes through an access")
struct AccessReadWriteTests {
  let client: Client
  let space: UInt32
  let access: UInt32
  let start: UInt64 = 16 << 20
  static var data: UInt64 { 0x5000_0000 }
  static var view: UInt64 { 0x4000_0000 }

  init() throws {
    client = try Client()
    client.process.map(Self.data, byteCount: 0x10000)
    space = try client.makeSpace()
    access = try client.makeAccess(space, canPin: false)
  }

  private func move(
    _ iova: UInt64, _ length: UInt64, flags: UInt32, at address: UInt64 = data
  ) -> Errno? {
    client.errno { () throws(Refusal) in
      try client.test(IOMMU_TEST_OP_ACCESS_RW, access) {
        unsafe $0.access_rw = iommu_test_access_rw(
          iova: iova, length: length, uptr: address, flags: flags)
      }
    }
  }

  private func bytes(at address: UInt64, _ count: Int) throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    try client.caller.load(into: &bytes, at: address)
    return bytes
  }

  @Test("bytes go where the mappings lead", arguments: 1...12 as ClosedRange<UInt64>)
  func seeded(seed: UInt64) throws {
    var random = SeededRandom(seed: seed)
    let file = SimulatedFile(byteCount: 0x4000, memory: client.machine.physicalMemory)
    client.caller.descriptors[50] = .foreign(PassedFile(memory: file.source, handle: file))
    client.process.map(Self.view, byteCount: 0x4000, file: file)
    // Neighbours of odd sizes from anywhere; no two share a byte.
    var addresses: [UInt64] = []
    func add(_ address: UInt64, _ length: UInt64, isFile: Bool) throws {
      let iova = start + UInt64(addresses.count)
      if isFile {
        try client.mapFile(space, 50, address - Self.view, length, at: iova)
      } else {
        try client.map(space, address, length, at: iova)
      }
      addresses += address..<address + length
    }
    for index in (0..<8 as Range<UInt64>).shuffled(using: &random) {
      let length = UInt64.random(in: 1...0x1fff, using: &random)
      try add(Client.buffer + index * 0x2000 + 1, length, isFile: false)
      guard index < 2 else { continue }
      try add(Self.view + index * 0x2000, length, isFile: true)
    }
    if Bool.random(using: &random) {
      _ = try client.makeAccess(space, canPin: false)
    }

    var shadow: [UInt64: UInt8] = [:]
    for step in 1...30 {
      let first = Int.random(in: 0..<addresses.count, using: &random)
      let count = Int.random(in: 1...min(0x1800, addresses.count - first), using: &random)
      let slow = Bool.random(using: &random) ? MOCK_ACCESS_RW_SLOW_PATH : 0
      if Bool.random(using: &random) {
        let written = (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) }
        try client.caller.store(written, at: Self.data)
        for index in 0..<count { shadow[addresses[first + index]] = written[index] }
        let refusal = move(
          start + UInt64(first), UInt64(count), flags: MOCK_ACCESS_RW_WRITE | slow)
        #expect(refusal == nil, "seed \(seed) step \(step)")
      } else {
        #expect(
          move(start + UInt64(first), UInt64(count), flags: slow) == nil,
          "seed \(seed) step \(step)")
        let expected = addresses[first..<first + count].map { shadow[$0] ?? 0 }
        #expect(try bytes(at: Self.data, count) == expected, "seed \(seed) step \(step)")
      }
    }
    for base in [Client.buffer, Self.view] {
      let memory = try bytes(at: base, base == Self.view ? 0x4000 : 0x10000)
      let expected = memory.indices.map { shadow[base + UInt64($0)] ?? 0 }
      #expect(memory == expected, "seed \(seed)")
    }
    #expect(client.process.pinnedPages == 0)
  }

  @Test func permissionsCountPerMapping() throws {
    try client.map(space, Client.buffer, 0x1000, at: start, flags: IOMMU_IOAS_MAP_READABLE)
    try client.map(
      space, Client.buffer + 0x1000, 0x1000, at: start + 0x1000,
      flags: IOMMU_IOAS_MAP_WRITEABLE)
    #expect(move(start, 0x1000, flags: 0) == nil)
    #expect(move(start, 0x1000, flags: MOCK_ACCESS_RW_WRITE) == .EPERM)
    #expect(move(start + 0x1000, 0x1000, flags: MOCK_ACCESS_RW_WRITE) == nil)
    #expect(move(start + 0x1000, 0x1000, flags: 0) == .EPERM)
    #expect(move(start + 0xfff, 2, flags: 0) == .EPERM)
  }

  @Test func aWriteIntoAHoleHasHappenedUpToIt() throws {
    try client.map(space, Client.buffer, 0x1000, at: start)
    try client.caller.store([1, 2, 3, 4], at: Self.data)
    #expect(move(start + 0xffe, 4, flags: MOCK_ACCESS_RW_WRITE) == .ENOENT)
    #expect(try bytes(at: Client.buffer + 0xffe, 3) == [1, 2, 0])
    // A read delivers all or nothing.
    #expect(move(start + 0xffd, 4, flags: 0) == .ENOENT)
    #expect(try bytes(at: Self.data, 4) == [1, 2, 3, 4])
  }

  @Test func badRequestsAreRefused() throws {
    try client.map(space, Client.buffer, 0x1000, at: start)
    try client.map(space, 0x6000_0000, 0x1000, at: start + 0x1000)
    #expect(move(start, 1, flags: 2) == .EOPNOTSUPP)
    #expect(move(start, 16 << 20 + 1, flags: 0) == .ENOMEM)
    #expect(move(start, 0, flags: 0) == .EINVAL)
    #expect(move(.max, 2, flags: 0) == .EOVERFLOW)
    #expect(move(0, 1, flags: 0) == .ENOENT)
    #expect(move(start, 1, flags: 0, at: 0x6000_0000) == .EFAULT)
    #expect(move(start, 1, flags: MOCK_ACCESS_RW_WRITE, at: 0x6000_0000) == .EFAULT)
    #expect(move(start + 0x1000, 1, flags: 0) == .EFAULT)
    client.close(access)
    #expect(move(start, 1, flags: 0) == .EBADFD)
  }
}
