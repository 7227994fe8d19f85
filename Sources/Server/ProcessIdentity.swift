import CHost
import Clients
import Glibc
import Hardware

/// Who a client process is to the machine.
struct ProcessIdentity {
  /// The process's number as the host sees it.
  let process: Int32
  /// Taken at the first call; a later change of user is not followed.
  let user: UInt32
  let group: UInt32
  let enforcesLockLimit: Bool

  var lockedMemoryLimit: UInt64? {
    guard enforcesLockLimit else { return nil }
    var bytes: UInt64 = 0
    guard unsafe host_lock_limit(process, &bytes) == 0, bytes != .max else { return nil }
    return bytes >> pageShift
  }

  /// Where the machine enforces no limits it lets every client set them, and counts all locked
  /// memory: nothing depends on what the client may do outside.
  func has(_ capability: Capability) -> Bool {
    guard enforcesLockLimit else { return capability != .lockMemory }
    let status = readWholeFile("/proc/\(process)/status") ?? []
    guard let effective = statusValue("CapEff", in: status), let mask = UInt64(effective, radix: 16)
    else { return false }
    return mask >> UInt64(capability.rawValue) & 1 != 0
  }

  /// Whether another process belongs to the same user.
  func isOwner(of other: Int32) -> Bool {
    let status = readWholeFile("/proc/\(other)/status") ?? []
    let users = statusValue("Uid", in: status)?.split(whereSeparator: { $0 == "\t" }) ?? []
    return users.first.flatMap { UInt32($0) } == user
  }
}

/// The text after `name:` in a status file of /proc.
func statusValue(_ name: String, in text: [UInt8]) -> String? {
  for line in text.split(separator: UInt8(ascii: "\n"))
  where line.starts(with: name.utf8) && line.dropFirst(name.utf8.count).first == UInt8(ascii: ":") {
    return String(
      decoding: line.dropFirst(name.utf8.count + 1).drop { $0 == 9 || $0 == 32 }, as: UTF8.self)
  }
  return nil
}

func readWholeFile(_ path: String) -> [UInt8]? {
  guard let descriptor = try? Descriptor(opening: path, O_RDONLY) else { return nil }
  var text: [UInt8] = []
  while true {
    var failed = false
    let piece = unsafe [UInt8](unsafeUninitializedCapacity: 8192) { buffer, count in
      let got = unsafe read(descriptor.number, buffer.baseAddress, buffer.count)
      failed = got < 0
      count = max(got, 0)
    }
    if failed { return nil }
    if piece.isEmpty { return text }
    text += piece
  }
}
