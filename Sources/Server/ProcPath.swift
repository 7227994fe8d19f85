/// A path below /proc that the server answers itself: a process or thread, and one of its files.
struct ProcPath: Equatable {
  enum Subject: Equatable {
    case callingProcess
    case callingThread
    case process(Int32)
  }
  enum Leaf: String {
    case status
    case failNth = "fail-nth"
  }

  var subject: Subject
  /// Given by `task/N`.
  var thread: Int32?
  var leaf: Leaf

  /// What the server wants to be asked about.
  static var prefixes: [String] {
    ["status", "fail-nth"].flatMap { leaf in
      ["/proc/*/\(leaf)", "/proc/*/task/*/\(leaf)"]
    }
  }

  /// Nil for every other path.
  init?(_ path: String) {
    var parts = path.split(separator: "/")[...]
    guard path.hasPrefix("/proc/"), parts.popFirst() == "proc", let name = parts.popFirst() else {
      return nil
    }
    switch name {
    case "self": subject = .callingProcess
    case "thread-self": subject = .callingThread
    default:
      guard let number = Self.number(name) else { return nil }
      subject = .process(number)
    }
    if parts.first == "task" {
      guard parts.count == 3, subject != .callingThread,
        let number = Self.number(parts[parts.startIndex + 1])
      else { return nil }
      thread = number
      parts = parts.dropFirst(2)
    }
    guard parts.count == 1, let leaf = parts.first.flatMap({ Leaf(rawValue: String($0)) }) else {
      return nil
    }
    self.leaf = leaf
  }

  /// A process number as /proc spells it: no sign, no leading zero.
  private static func number(_ text: Substring) -> Int32? {
    guard let first = text.utf8.first, first > UInt8(ascii: "0"), first <= UInt8(ascii: "9") else {
      return nil
    }
    return Int32(text)
  }
}
