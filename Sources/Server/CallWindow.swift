import CHost
import Glibc

/// The client's memory around a call's argument: a private copy, and which parts of it were
/// written.
@safe final class CallWindow {
  static let capacity = 4096

  private let bytes: UnsafeMutableRawPointer
  private(set) var address: UInt64 = 0
  private(set) var readable = 0
  private(set) var writable = 0
  private(set) var written = WrittenExtents()

  init() { unsafe bytes = .allocate(byteCount: Self.capacity, alignment: 64) }
  deinit { unsafe bytes.deallocate() }

  /// Copies the window out of its slot. Claims beyond the window, or around the end of the address
  /// space, make it empty or smaller.
  func load(_ request: host_request, from slot: UnsafeMutableRawPointer) {
    written = WrittenExtents()
    address = request.window_address
    readable = min(Int(request.window_readable), Self.capacity)
    if address.addingReportingOverflow(UInt64(readable)).overflow { readable = 0 }
    // Bytes that were not read have no value to give back beside the written ones.
    writable = min(Int(request.window_writable), readable)
    unsafe memcpy(bytes, slot, readable)
  }

  /// A window that holds a NUL-terminated text, without the end.
  func loadText(from slot: UnsafeMutableRawPointer) -> String? {
    unsafe memcpy(bytes, slot, Self.capacity)
    let all = unsafe UnsafeRawBufferPointer(start: bytes, count: Self.capacity)
    guard let end = unsafe all.firstIndex(of: 0) else { return nil }
    return unsafe String(decoding: all[..<end], as: UTF8.self)
  }

  func clear() {
    written = WrittenExtents()
    (address, readable, writable) = (0, 0, 0)
  }

  /// The readable part, as bytes.
  var contents: [UInt8] {
    unsafe [UInt8](UnsafeRawBufferPointer(start: bytes, count: readable))
  }

  func read(at offset: Int, into target: UnsafeMutableRawBufferPointer) {
    precondition(offset >= 0 && offset + target.count <= readable)
    unsafe target.copyMemory(
      from: UnsafeRawBufferPointer(start: bytes + offset, count: target.count))
  }

  func write(at offset: Int, from source: UnsafeRawBufferPointer) {
    precondition(offset >= 0 && offset + source.count <= writable)
    guard let base = source.baseAddress, source.count > 0 else { return }
    unsafe memcpy(bytes + offset, base, source.count)
    written.insert(offset..<offset + source.count)
  }

  /// Puts the written parts into the slot and names them in the answer.
  func store(into slot: UnsafeMutableRawPointer, _ answer: inout host_answer) {
    answer.write_count = UInt32(written.count)
    unsafe withUnsafeMutableBytes(of: &answer.writes) { table in
      let table = unsafe table.assumingMemoryBound(to: host_extent.self)
      for index in 0..<written.count {
        let range = written[index]
        unsafe memcpy(slot + range.lowerBound, bytes + range.lowerBound, range.count)
        unsafe table[index] = host_extent(
          offset: UInt32(range.lowerBound), length: UInt32(range.count))
      }
    }
  }
}
