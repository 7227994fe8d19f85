import CHost
import Glibc

/// A file descriptor of the host. It closes with the last reference.
final class Descriptor {
  let number: Int32

  init(owning number: Int32) { self.number = number }

  /// Opens `path`; the error is a positive errno.
  convenience init(opening path: String, _ flags: Int32) throws(SystemError) {
    let opened = unsafe host_open(path, flags)
    guard opened >= 0 else { throw SystemError(number: -opened) }
    self.init(owning: opened)
  }

  deinit { close(number) }

  var status: host_file_status? { fileStatus(of: number) }

  /// The same file opened anew, which may have other access rights than this descriptor.
  func reopened(_ flags: Int32) -> Descriptor? {
    let opened = host_reopen(number, flags)
    return opened >= 0 ? Descriptor(owning: opened) : nil
  }
}

/// An error number of a system call of the host.
struct SystemError: Error {
  let number: Int32
}

func fileStatus(of descriptor: Int32) -> host_file_status? {
  var status = host_file_status()
  return unsafe host_file_status(descriptor, &status) == 0 ? status : nil
}

/// What names a file for as long as it is open: the device and inode number.
struct FileKey: Hashable {
  var device: UInt64
  var inode: UInt64

  init(device: UInt64, inode: UInt64) {
    self.device = device
    self.inode = inode
  }

  init(_ status: host_file_status) {
    self.init(device: status.device, inode: status.inode)
  }
}
