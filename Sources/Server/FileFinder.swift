import CHost
import Glibc

/// How many of a client's descriptors are looked at for the one behind a mapping.
private var searchLimit: Int { 1024 }

/// An opening of a file in memory that a client has mapped, so that its pages outlive the client:
/// through the mapping where the host is privileged, else through a descriptor that the client
/// still has.
func findOpening(of mapping: Mapping, by process: Int32) -> HostMemoryFile? {
  let name = String(mapping.start, radix: 16) + "-" + String(mapping.end, radix: 16)
  if let file = open("/proc/\(process)/map_files/\(name)", as: mapping.file) { return file }

  var left = searchLimit
  guard let directory = unsafe opendir("/proc/\(process)/fd") else { return nil }
  defer { unsafe closedir(directory) }
  while left > 0, let entry = unsafe readdir(directory) {
    left -= 1
    let number = unsafe withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
      unsafe bytes.prefix { $0 != 0 }.reduce(into: "") { $0.append(Character(Unicode.Scalar($1))) }
    }
    if Int32(number) == nil { continue }
    var status = stat()
    let path = "/proc/\(process)/fd/\(number)"
    guard unsafe stat(path, &status) == 0,
      FileKey(device: UInt64(status.st_dev), inode: UInt64(status.st_ino)) == mapping.file
    else { continue }
    return open(path, as: mapping.file)
  }
  return nil
}

/// Without waiting: a lease that the client holds, or a pipe of its, would keep the machine.
private func open(_ path: String, as key: FileKey) -> HostMemoryFile? {
  guard
    let descriptor = (try? Descriptor(opening: path, O_RDWR | O_NONBLOCK))
      ?? (try? Descriptor(opening: path, O_RDONLY | O_NONBLOCK)),
    let status = descriptor.status, status.is_memory || status.is_huge_memory,
    FileKey(status) == key
  else { return nil }
  return HostMemoryFile(descriptor, status)
}
