import CChannel
import CHost
import Glibc

/// The pages shared with one client process. Whatever the client can write is copied out once, then
/// judged.
@safe final class Channel {
  let pages: UnsafeMutableRawPointer

  /// Makes a channel and the descriptor of it that goes to the client.
  static func make() throws(SystemError) -> (channel: Channel, descriptor: Descriptor) {
    let made = unsafe host_memfd("viaduct-channel", host_channel_bytes())
    guard made >= 0 else { throw SystemError(number: -made) }
    let descriptor = Descriptor(owning: made)
    // Sealed, so that the client cannot take the pages away under the host.
    let sealed = host_memfd_seal_size(made)
    guard sealed >= 0 else { throw SystemError(number: -sealed) }
    guard let pages = unsafe host_channel_map(made) else { throw SystemError(number: ENOMEM) }
    return (unsafe Channel(pages), descriptor)
  }

  private init(_ pages: UnsafeMutableRawPointer) { unsafe self.pages = pages }

  deinit { unsafe host_channel_unmap(pages) }

  /// Writes what the client reads at its start.
  func prepare(prefixes: [String], tree: String, needsHelper: Bool) {
    unsafe host_channel_prepare(pages, getpid(), needsHelper)
    var used: Int32 = 0
    for prefix in prefixes {
      used = unsafe host_channel_add_prefix(pages, used, prefix)
      precondition(used >= 0, "the machine has more path prefixes than the channel holds")
    }
    let fits = unsafe host_channel_set_tree(pages, tree)
    precondition(fits, "the path of the served tree is too long")
  }

  func take(spinning nanoseconds: UInt64) -> UInt64 {
    unsafe host_channel_take(pages, nanoseconds)
  }

  func ring() { unsafe host_channel_ring(pages) }
  func close() { unsafe host_channel_close(pages) }

  /// Private memory in this range is pinned: the client then reports its replacement.
  func setPinned(_ range: Range<UInt64>) {
    unsafe host_channel_set_pinned(pages, range.lowerBound, range.upperBound)
  }

  func request(in slot: UInt32) -> host_request? {
    var request = host_request()
    return unsafe host_slot_take(pages, slot, &request) ? request : nil
  }

  func window(of slot: UInt32) -> UnsafeMutableRawPointer {
    unsafe UnsafeMutableRawPointer(host_slot_window(pages, slot))
  }

  func answer(_ answer: host_answer, in slot: UInt32) {
    unsafe withUnsafePointer(to: answer) { unsafe host_slot_answer(pages, slot, $0) }
  }
}
