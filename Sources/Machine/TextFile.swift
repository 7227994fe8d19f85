internal import Clients
internal import Hardware

/// A small text file whose content is made when it is read and acted on when it is written, as the
/// files of procfs and debugfs are.
class TextFile: MachineFile {
  var name: String { "" }
  var status: FileStatus { FileStatus(mode: 0o100644) }
  /// What a reader sees now.
  var contents: String { "" }
  private var position: UInt64 = 0

  /// Takes what a writer sent, without the final newline.
  func accept(_ text: String) throws(Refusal) {
    throw Refusal(.EINVAL, because: "the file cannot be written")
  }

  final func read(
    _ address: UInt64, count: UInt64, offset: UInt64?, caller: any Caller
  ) throws(Refusal) -> Int64 {
    let bytes = Array(contents.utf8)
    let start = offset ?? position
    guard start < UInt64(bytes.count) else { return 0 }
    let part = Array(bytes[Int(start)...].prefix(Int(min(count, UInt64(bytes.count)))))
    try caller.store(part, at: address)
    if offset == nil { position += UInt64(part.count) }
    return Int64(part.count)
  }

  final func write(
    _ address: UInt64, count: UInt64, offset: UInt64?, caller: any Caller
  ) throws(Refusal) -> Int64 {
    guard count <= 64 else { throw Refusal(.EINVAL, because: "the text is too long") }
    var bytes = [UInt8](repeating: 0, count: Int(count))
    try caller.load(into: &bytes, at: address)
    if bytes.last == UInt8(ascii: "\n") { bytes.removeLast() }
    try accept(String(decoding: bytes, as: UTF8.self))
    if offset == nil { position += count }
    return Int64(count)
  }

  func release() {}
}

/// Linux's fail-nth of one thread: writing n makes the n-th fallible step from now on fail, reading
/// tells how many are left, 0 when it has failed.
final class FailNthFile: TextFile {
  private let machine: Machine
  private let key: Machine.ThreadKey

  init(machine: Machine, key: Machine.ThreadKey) {
    self.machine = machine
    self.key = key
  }

  override var name: String { "fail-nth" }
  override var contents: String { "\(machine.failNth(of: key))\n" }

  override func accept(_ text: String) throws(Refusal) {
    guard let count = UInt32(text) else {
      throw Refusal(.EINVAL, because: "the text is no number")
    }
    machine.setFailNth(of: key, to: count)
  }
}
