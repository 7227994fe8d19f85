internal import CKernelABI
internal import Clients
internal import Hardware
internal import IOMMUFD

/// Memory of the machine itself, which no client maps.
private final class OwnMemory: MemoryBacking {
  private var bytes: [UInt8]

  init(byteCount: Int) { bytes = Array(repeating: 0, count: byteCount) }

  func read(at offset: UInt64, into target: UnsafeMutableRawBufferPointer) throws(MemoryFault) {
    guard offset + UInt64(target.count) <= bytes.count else { throw .notAccessible }
    unsafe target.copyBytes(from: bytes[Int(offset)..<Int(offset) + target.count])
  }

  func write(at offset: UInt64, from source: UnsafeRawBufferPointer) throws(MemoryFault) {
    guard offset + UInt64(source.count) <= bytes.count else { throw .notAccessible }
    for index in 0..<source.count { bytes[Int(offset) + index] = unsafe source[index] }
  }
}

extension TestCommand {
  private static var largestBuffer: UInt64 { 512 * pageBytes }
  private static var closeOnExec: UInt32 { 0o2000000 }  // O_CLOEXEC

  /// IOMMU_TEST_OP_DMABUF_GET: exports a buffer; its descriptor is the result.
  @Sendable static func exportBuffer(
    _ argument: inout iommu_test_cmd, _ call: Call
  ) throws(Refusal) -> Int64 {
    let wanted = unsafe argument.arguments.dmabuf_get
    let byteCount = (UInt64(wanted.length) + pageBytes - 1) & ~(pageBytes - 1)
    guard byteCount > 0, byteCount <= largestBuffer else {
      throw Refusal(.EINVAL, because: "the buffer has no pages, or more than 512")
    }
    try call.context.failures.step()
    let source = MemorySource(
      backing: OwnMemory(byteCount: Int(byteCount)), in: call.context.environment.physicalMemory)
    let buffer = try ExportedBuffer(byteCount: byteCount, source: source)
    try call.caller.install(
      buffer, closeOnExec: wanted.open_flags & closeOnExec != 0, numberAt: nil)
    return 0
  }

  /// IOMMU_TEST_OP_DMABUF_REVOKE: takes the buffer from those that map it.
  @Sendable static func revokeBuffer(
    _ argument: inout iommu_test_cmd, _ call: Call
  ) throws(Refusal) -> Int64 {
    let wanted = unsafe argument.arguments.dmabuf_revoke
    switch call.caller.descriptor(wanted.dmabuf_fd) {
    case nil:
      throw Refusal(.EBADF, because: "the descriptor is not open")
    case .machine(let buffer as ExportedBuffer):
      buffer.setRevoked(wanted.revoked != 0)
      return 0
    default:
      throw Refusal(.EINVAL, because: "the descriptor is no exported buffer")
    }
  }
}
