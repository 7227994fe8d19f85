import CHost
import Clients
import Glibc
import Hardware

/// A file of a client that the host holds open too. Files that are memory are reached through a
/// mapping.
@safe final class HostMemoryFile: FileHandle {
  /// The address range that one mapping of the host covers at most.
  private static let windowBytes: UInt64 = 1 << 30

  @safe private struct Window {
    var base: UnsafeMutableRawPointer
    var byteCount: UInt64
  }

  let key: FileKey
  let isMemory: Bool
  private let descriptor: Descriptor
  private let isWritable: Bool
  private let blockBytes: UInt64
  private var windows: [UInt64: Window] = [:]

  /// Takes the descriptor over, or a writable opening of the same file where it is read-only
  /// memory.
  init(_ passed: Descriptor, _ status: host_file_status) {
    key = FileKey(status)
    isMemory = status.is_memory || status.is_huge_memory
    blockBytes = max(status.block_bytes, pageBytes)
    let reopened = isMemory ? passed.reopened(O_RDWR | O_NONBLOCK) : nil
    descriptor = reopened ?? passed
    let mode = fcntl(descriptor.number, F_GETFL) & O_ACCMODE
    isWritable = mode == O_RDWR
  }

  deinit {
    for window in windows.values { unsafe munmap(window.base, Int(window.byteCount)) }
  }

  var byteCount: UInt64 { descriptor.status?.byte_count ?? 0 }

  func read(at offset: UInt64, into bytes: UnsafeMutableRawBufferPointer) throws(MemoryFault) {
    try unsafe forEachPiece(offset, bytes.count) { (place, done, count) throws(MemoryFault) in
      guard let base = bytes.baseAddress,
        unsafe host_copy_guarded(base + done, place, count) == 0
      else { throw .notAccessible }
    }
  }

  func write(at offset: UInt64, from bytes: UnsafeRawBufferPointer) throws(MemoryFault) {
    guard isWritable else { throw .notAccessible }
    try unsafe forEachPiece(offset, bytes.count) { (place, done, count) throws(MemoryFault) in
      guard let base = bytes.baseAddress,
        unsafe host_copy_guarded(place, base + done, count) == 0
      else { throw .notAccessible }
    }
  }

  private func forEachPiece(
    _ offset: UInt64, _ count: Int,
    _ body: (UnsafeMutableRawPointer, _ done: Int, _ count: Int) throws(MemoryFault) -> Void
  ) throws(MemoryFault) {
    var done = 0
    while done < count {
      let position = offset + UInt64(done)
      let inside = position % Self.windowBytes
      let wanted = min(UInt64(count - done), Self.windowBytes - inside)
      let window = try window(position / Self.windowBytes, reaching: inside + wanted)
      try unsafe body(window.base + Int(inside), done, Int(wanted))
      done += Int(wanted)
    }
  }

  /// A window covers the file only as far as it goes: mapping a huge-page file further would extend
  /// it.
  private func window(_ index: UInt64, reaching end: UInt64) throws(MemoryFault) -> Window {
    if let present = windows[index], present.byteCount >= end { return present }
    let start = index * Self.windowBytes
    let size = byteCount
    guard size > start else { throw .notAccessible }
    let blocks = (size - start + blockBytes - 1) / blockBytes
    let length = min(blocks * blockBytes, Self.windowBytes)
    guard length >= end else { throw .notAccessible }
    let mapped = unsafe mmap(
      nil, Int(length), isWritable ? PROT_READ | PROT_WRITE : PROT_READ,
      MAP_SHARED | MAP_NORESERVE, descriptor.number, off_t(start))
    guard let base = unsafe mapped, unsafe base != MAP_FAILED else { throw .notAccessible }
    if let old = windows[index] { unsafe munmap(old.base, Int(old.byteCount)) }
    let made = unsafe Window(base: base, byteCount: length)
    windows[index] = made
    return made
  }
}
