import CKernelABI
import Clients
import TestSupport
import Testing

@Suite("Exported buffers")
struct ExportedBufferTests {
  let client: Client
  let space: UInt32
  let device: (object: UInt32, table: UInt32, device: UInt32)

  init() throws {
    client = try Client()
    space = try client.makeSpace()
    device = try client.makeDevice(on: space)
  }

  private func refusal(_ body: () throws(Refusal) -> Void) -> Errno? { client.errno(body) }

  private func makeBuffer(_ length: UInt32) throws(Refusal) -> Int32 {
    try client.test(IOMMU_TEST_OP_DMABUF_GET) {
      unsafe $0.dmabuf_get = iommu_test_dmabuf_get(length: length, open_flags: 0o2_000_000)
    }
    return client.caller.installed.last?.number ?? -1
  }

  private func revoke(_ buffer: Int32, _ isRevoked: Bool) throws(Refusal) {
    try client.test(IOMMU_TEST_OP_DMABUF_REVOKE) {
      unsafe $0.dmabuf_revoke = iommu_test_dmabuf_revoke(
        dmabuf_fd: buffer, revoked: isRevoked ? 1 : 0)
    }
  }

  private func map(
    _ buffer: Int32, _ start: UInt64, _ length: UInt64, at iova: UInt64? = nil
  ) -> Errno? {
    refusal { () throws(Refusal) in
      try client.mapFile(space, buffer, start, length, at: iova)
    }
  }

  @Test func onlyWhatIsInABufferCanBeMapped() throws {
    let buffer = try makeBuffer(0x4000)
    #expect(map(buffer, 0, 0) == .EINVAL)
    #expect(map(buffer, 0x4000, 0x4000) == .EINVAL)
    #expect(map(buffer, 0, 0x4001) == .EINVAL)
    #expect(map(buffer, .max - 0xfff, 0x2000) == .EOVERFLOW)
    #expect(map(buffer, 0, 0x4000) == nil)
    #expect(map(buffer, 0x3000, 0x1000) == nil)
    #expect(client.process.pinnedPages == 0)
  }

  @Test func aBufferHasOneTo512Pages() throws {
    #expect(refusal { () throws(Refusal) in _ = try makeBuffer(0) } == .EINVAL)
    #expect(refusal { () throws(Refusal) in _ = try makeBuffer(0x20_1000) } == .EINVAL)
    let buffer = try makeBuffer(0x1f_f001)
    #expect(map(buffer, 0x1f_f000, 0x1000) == nil)
    #expect(map(try makeBuffer(1), 0, 0x1000) == nil)
  }

  @Test func aRevokedBufferLeavesItsMappingEmpty() throws {
    let buffer = try makeBuffer(0x4000)
    #expect(map(buffer, 0, 0x4000, at: 16 << 20) == nil)
    try revoke(buffer, true)
    #expect(map(buffer, 0, 0x4000) == .ENODEV)
    // Tables come and go around the empty mapping.
    let table = try client.makeTable(device.device, space)
    let second = try client.makeDevice(on: space)
    try client.destroy(table)
    try revoke(buffer, false)
    #expect(map(buffer, 0, 0x4000, at: 32 << 20) == nil)
    try client.destroy(try client.makeTable(device.device, space))
    #expect(try client.unmap(space, 16 << 20, 0x4000) == 0x4000)
    #expect(map(buffer, 0, 0x4000, at: 16 << 20) == nil)
    try revoke(buffer, true)
    try revoke(buffer, true)
    try client.destroy(second.object)
    client.close()
    #expect(client.leftovers == [:])
  }

  @Test func aMappingOutlivesTheDescriptor() throws {
    let buffer = try makeBuffer(0x4000)
    #expect(map(buffer, 0, 0x4000, at: 16 << 20) == nil)
    client.caller.close(buffer)
    #expect(map(buffer, 0, 0x1000) == .EBADF)
    #expect(refusal { () throws(Refusal) in try revoke(buffer, true) } != nil)
    try client.copy(space, 16 << 20, 0x2000, to: space, at: 32 << 20)
    try client.destroy(try client.makeTable(device.device, space))
    try client.unmap(space, 16 << 20, 0x4000)
    try client.destroy(device.object)
    _ = try client.makeDevice(on: space)
    try client.unmap(space, 0, .max)
    client.close()
    #expect(client.leftovers == [:])
  }

  @Test func aBufferOutlivesItsMapping() throws {
    let buffer = try makeBuffer(0x4000)
    #expect(map(buffer, 0, 0x4000, at: 16 << 20) == nil)
    try client.unmap(space, 0, .max)
    try revoke(buffer, true)
    try revoke(buffer, false)
    #expect(map(buffer, 0, 0x4000, at: 16 << 20) == nil)
    try { () throws in
      let file = try #require(client.file(UInt32(buffer)))
      client.close(keeping: UInt32(buffer))
      #expect(client.leftovers["contexts"] == nil)
      file.release()
    }()
    #expect(client.leftovers == [:])
  }

  @Test func softwareCannotTouchABuffer() throws {
    let buffer = try makeBuffer(0x4000)
    #expect(map(buffer, 0, 0x4000, at: 16 << 20) == nil)
    let access = try client.makeAccess(space)
    #expect(
      refusal { () throws(Refusal) in _ = try client.pin(access, 16 << 20, 0x1000) } == .EINVAL)
    let readsIt = refusal { () throws(Refusal) in
      try client.test(IOMMU_TEST_OP_ACCESS_RW, access) {
        unsafe $0.access_rw = iommu_test_access_rw(
          iova: 16 << 20, length: 16, uptr: Client.buffer, flags: 0)
      }
    }
    #expect(readsIt == .EINVAL)
  }

  @Test func onlyBuffersAreRevoked() throws {
    let queue = try client.makeFaultQueue()
    #expect(
      refusal { () throws(Refusal) in try revoke(Int32(queue.descriptor), true) } == .EINVAL)
    #expect(refusal { () throws(Refusal) in try revoke(999, true) } == .EBADF)
  }

  @Test func aBufferForbidsChangingTheProcess() throws {
    #expect(map(try makeBuffer(0x1000), 0, 0x1000) == nil)
    var argument = iommu_ioas_change_process()
    let answer = refusal { () throws(Refusal) in
      try client.call(IOMMUFD_CMD_IOAS_CHANGE_PROCESS, &argument)
    }
    #expect(answer == .EINVAL)
  }
}
