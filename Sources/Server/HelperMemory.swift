import CChannel
import CHost
import Glibc
import Hardware

/// Memory reached by a thread of the client itself, where the host may not look into the process.
final class HelperMemory: MemoryAccess {
  /// How long the machine may stand still for one piece of memory before the client counts as gone.
  private static let limitNanoseconds: UInt64 = 2_000_000_000
  private static let pieceBytes = 65536
  /// As many mappings as Linux lets a process have by default, and some more.
  private static let mappingLimit = 1 << 17

  private let channel: Channel
  private let processDescriptor: Descriptor
  private var hasFailed = false

  init(channel: Channel, processDescriptor: Descriptor) {
    self.channel = channel
    self.processDescriptor = processDescriptor
  }

  var isAlive: Bool { !hasFailed && host_poll(processDescriptor.number, HOST_READABLE) == 0 }

  func mapping(from address: UInt64, sharedOnly: Bool) throws(MemoryFault) -> Mapping {
    var next = address
    for _ in 0..<Self.mappingLimit {
      var raw = viaduct_mapping()
      let result = try unsafe withUnsafeMutableBytes(of: &raw) { (bytes) throws(MemoryFault) in
        try unsafe call(
          HOST_HELPER_MAPPING, next, UnsafeMutableRawBufferPointer(bytes))
      }
      guard result == 0 else { throw .notAccessible }
      let found = Mapping(raw)
      // The client says so: what no kernel would say must not reach the page arithmetic.
      guard found.start < found.end, found.end > next,
        (found.start | found.end | found.offset) % pageBytes == 0,
        !found.offset.addingReportingOverflow(found.end - found.start).overflow
      else { throw .notAccessible }
      if !sharedOnly || found.isOfFile { return found }
      next = found.end
    }
    throw .notAccessible
  }

  func read(at address: UInt64, into bytes: UnsafeMutableRawBufferPointer) throws(MemoryFault) {
    try unsafe move(HOST_HELPER_READ, address, bytes)
  }

  func write(at address: UInt64, from bytes: UnsafeRawBufferPointer) throws(MemoryFault) {
    try unsafe move(
      HOST_HELPER_WRITE, address, UnsafeMutableRawBufferPointer(mutating: bytes))
  }

  private func move(
    _ operation: host_helper, _ address: UInt64, _ bytes: UnsafeMutableRawBufferPointer
  ) throws(MemoryFault) {
    guard !address.addingReportingOverflow(UInt64(bytes.count)).overflow else {
      throw .notAccessible
    }
    var done = 0
    while done < bytes.count {
      let count = min(bytes.count - done, Self.pieceBytes)
      let piece = unsafe UnsafeMutableRawBufferPointer(rebasing: bytes[done..<done + count])
      let moved = try unsafe call(operation, address + UInt64(done), piece)
      guard moved == Int64(count) else { throw .notAccessible }
      done += count
    }
  }

  private func call(
    _ operation: host_helper, _ address: UInt64, _ bytes: UnsafeMutableRawBufferPointer
  ) throws(MemoryFault) -> Int64 {
    guard isAlive else { throw .gone }
    let result = unsafe host_helper_call(
      channel.pages, processDescriptor.number, operation.rawValue, address, bytes.baseAddress,
      UInt32(bytes.count), Self.limitNanoseconds)
    guard result != Int64(-ETIMEDOUT) else {
      hasFailed = true
      throw .gone
    }
    return result
  }
}
