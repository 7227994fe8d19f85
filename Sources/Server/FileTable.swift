import CHost

/// The files that clients have open, by the inode of their descriptors, and the ends to watch.
final class FileTable {
  /// An epoll set of the host's ends; it is itself watched by the server's main loop.
  let watch: Descriptor
  private var byKey: [FileKey: HostFile] = [:]
  private var byNumber: [UInt64: HostFile] = [:]
  private var nextNumber: UInt64 = 1

  init() throws(SystemError) {
    let made = host_epoll()
    guard made >= 0 else { throw SystemError(number: -made) }
    watch = Descriptor(owning: made)
  }

  var count: Int { byKey.count }
  var all: [HostFile] { Array(byKey.values) }
  subscript(key: FileKey) -> HostFile? { byKey[key] }

  func makeNumber() -> UInt64 {
    defer { nextNumber += 1 }
    return nextNumber
  }

  func insert(_ file: HostFile) -> Bool {
    guard host_epoll_add(watch.number, file.ends.host.number, HOST_ENDED, file.number) == 0 else {
      return false
    }
    byKey[file.ends.key] = file
    byNumber[file.number] = file
    return true
  }

  /// No descriptor of it is left: it is no longer found nor watched.
  func remove(_ file: HostFile) {
    guard byNumber.removeValue(forKey: file.number) != nil else { return }
    byKey[file.ends.key] = nil
    _ = host_epoll_remove(watch.number, file.ends.host.number)
  }

  /// Files whose last descriptor has closed by now.
  func takeEnded() -> [HostFile] {
    var ended: [HostFile] = []
    var events = InlineArray<16, host_event>(repeating: host_event())
    while true {
      let count = unsafe withUnsafeMutableBytes(of: &events) { bytes in
        unsafe host_epoll_wait(
          watch.number, bytes.assumingMemoryBound(to: host_event.self).baseAddress, 16, 0)
      }
      guard count > 0 else { return ended }
      let before = ended.count
      for index in 0..<Int(count) {
        guard let file = byNumber[events[index].key] else { continue }
        remove(file)
        ended.append(file)
      }
      guard ended.count > before else { return ended }
    }
  }
}
