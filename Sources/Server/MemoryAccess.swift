import CChannel
import CHost
import Glibc
import Hardware

/// A way into the memory of one address space. It never reaches the program that comes after
/// `exec`.
protocol MemoryAccess: AnyObject {
  var isAlive: Bool { get }
  /// The mapping that contains `address` or the next one above it. `sharedOnly` skips private ones.
  func mapping(from address: UInt64, sharedOnly: Bool) throws(MemoryFault) -> Mapping
  func read(at address: UInt64, into bytes: UnsafeMutableRawBufferPointer) throws(MemoryFault)
  func write(at address: UInt64, from bytes: UnsafeRawBufferPointer) throws(MemoryFault)
}

extension MemoryAccess {
  /// The mapping around `address`.
  func mapping(at address: UInt64) throws(MemoryFault) -> Mapping {
    let found = try mapping(from: address, sharedOnly: false)
    guard found.contains(address) else { throw .notAccessible }
    return found
  }

  func isWritable(_ address: UInt64, byteCount: UInt64) -> Bool {
    var cursor = address
    let (end, overflow) = address.addingReportingOverflow(byteCount)
    guard !overflow else { return false }
    do throws(MemoryFault) {
      while cursor < end {
        let found = try mapping(at: cursor)
        guard found.isWritable else { return false }
        cursor = found.end
      }
      return true
    } catch {
      return false
    }
  }
}

/// Memory reached through /proc/PID/mem and /proc/PID/maps: both descriptors stay bound to the
/// address space they were opened on.
final class ProcessMemory: MemoryAccess {
  private let memory: Descriptor
  private let maps: Descriptor
  private var hasQuery = true

  /// Fails with EACCES or EPERM where the host may not.
  init(process: Int32) throws(SystemError) {
    memory = try Descriptor(opening: "/proc/\(process)/mem", O_RDWR)
    maps = try Descriptor(opening: "/proc/\(process)/maps", O_RDONLY)
  }

  var isAlive: Bool {
    do throws(MemoryFault) {
      _ = try mapping(from: 0, sharedOnly: false)
      return true
    } catch {
      return error != .gone
    }
  }

  func mapping(from address: UInt64, sharedOnly: Bool) throws(MemoryFault) -> Mapping {
    let filter = sharedOnly ? HOST_MAPPING_SHARED : 0
    var raw = viaduct_mapping()
    var result = -ENOTTY
    if hasQuery {
      result = unsafe host_query_mapping(maps.number, address, filter, &raw)
      hasQuery = result != -ENOTTY
    }
    if !hasQuery { result = unsafe host_scan_mapping(maps.number, address, filter, &raw) }
    guard result == 0 else { throw result == -ESRCH ? .gone : .notAccessible }
    return Mapping(raw)
  }

  func read(at address: UInt64, into bytes: UnsafeMutableRawBufferPointer) throws(MemoryFault) {
    guard let base = bytes.baseAddress else { return }
    try move(at: address, count: bytes.count, writing: false) { address, offset, count in
      unsafe pread(memory.number, base + offset, count, address)
    }
  }

  func write(at address: UInt64, from bytes: UnsafeRawBufferPointer) throws(MemoryFault) {
    guard let base = bytes.baseAddress else { return }
    try move(at: address, count: bytes.count, writing: true) { address, offset, count in
      unsafe pwrite(memory.number, base + offset, count, address)
    }
  }

  /// The kernel ignores protections on this path, so the mapping is asked first.
  private func move(
    at address: UInt64, count: Int, writing: Bool, _ step: (off_t, Int, Int) -> Int
  ) throws(MemoryFault) {
    guard let last = Int64(exactly: address), !last.addingReportingOverflow(Int64(count)).overflow
    else { throw .notAccessible }
    var done = 0
    while done < count {
      let cursor = address + UInt64(done)
      let found = try mapping(at: cursor)
      guard found.allows(writing: writing) else { throw .notAccessible }
      let piece = Int(min(UInt64(count - done), found.end - cursor))
      let moved = step(off_t(cursor), done, piece)
      guard moved > 0 else { throw moved == 0 ? .gone : .notAccessible }
      done += moved
    }
  }
}
