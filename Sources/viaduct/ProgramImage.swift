import CHost
import Glibc

/// Whether the dynamic linker will put our library into a program: what its file says.
enum ProgramImage {
  /// How many scripts may interpret one another.
  private static let scriptDepth = 4

  /// Refuses a program that cannot be served; returns a warning about one that may not be.
  static func judge(_ path: String, depth: Int = 0) throws(ProgramError) -> String? {
    try judgePrivileges(path)
    let head = FileBytes(path)
    if head.starts(with: Array("#!".utf8)) {
      guard depth < scriptDepth, let interpreter = try interpreter(of: head) else {
        throw .notServed("\(path): the script names no interpreter")
      }
      return try judge(interpreter, depth: depth + 1)
    }
    guard head.starts(with: [0x7f] + Array("ELF".utf8)) else {
      // The kernel will say what it thinks of it.
      return nil
    }
    return try judgeELF(path, head)
  }

  private static func judgePrivileges(_ path: String) throws(ProgramError) {
    var status = stat()
    guard unsafe stat(path, &status) == 0 else {
      throw .notFound("\(path): \(unsafe String(cString: strerror(errno)))")
    }
    let changesUser = status.st_mode & S_ISUID != 0 && status.st_uid != geteuid()
    let changesGroup = status.st_mode & S_ISGID != 0 && status.st_gid != getegid()
    let reason =
      changesUser
      ? "is setuid"
      : changesGroup
        ? "is setgid"
        : nil
          ?? (unsafe host_has_file_capabilities(path) && geteuid() != 0
            ? "has file capabilities" : nil)
    if let reason {
      throw .notServed(
        """
        \(path) \(reason): the dynamic linker ignores LD_PRELOAD in such programs, so it would run \
        without the machine. Run a copy without that privilege.
        """)
    }
  }

  /// `#!/usr/bin/env name` leads to the program of that name.
  private static func interpreter(of script: FileBytes) throws(ProgramError) -> String? {
    let line = script.prefix(256).dropFirst(2).prefix { $0 != UInt8(ascii: "\n") }
    let words = String(decoding: line, as: UTF8.self).split {
      $0 == " " || $0 == "\t" || $0 == "\r"
    }
    guard let first = words.first else { return nil }
    if first.hasSuffix("/env"), let name = words.dropFirst().first(where: { !$0.hasPrefix("-") }) {
      return try Program.find(String(name))
    }
    return String(first)
  }

  private static func judgeELF(_ path: String, _ file: FileBytes) throws(ProgramError) -> String? {
    guard file.number(at: 4, bytes: 1) == 2, file.number(at: 5, bytes: 1) == 1 else {
      throw .notServed("\(path) is not a 64-bit program: libviaduct.so cannot be loaded into it")
    }
    guard let own = FileBytes("/proc/self/exe").number(at: 18, bytes: 2),
      file.number(at: 18, bytes: 2) == own
    else { throw .notServed("\(path) is for another processor") }
    guard hasInterpreter(file) else {
      throw .notServed(
        """
        \(path) is statically linked: no dynamic linker runs, so LD_PRELOAD cannot bring \
        libviaduct.so into it. Link it dynamically.
        """)
    }
    guard hasSection(".go.buildinfo", file) else { return nil }
    return """
      \(path) is a Go program: what it does through its own system calls does not reach the \
      machine, only calls of the C library do.
      """
  }

  private static func hasInterpreter(_ file: FileBytes) -> Bool {
    guard let table = file.number(at: 32, bytes: 8), let size = file.number(at: 54, bytes: 2),
      let count = file.number(at: 56, bytes: 2)
    else { return false }
    let interpreterKind: UInt64 = 3
    return (0..<count).contains { (index: UInt64) -> Bool in
      file.number(at: table &+ index &* size, bytes: 4) == interpreterKind
    }
  }

  private static func hasSection(_ name: String, _ file: FileBytes) -> Bool {
    guard let table = file.number(at: 40, bytes: 8), let size = file.number(at: 58, bytes: 2),
      let count = file.number(at: 60, bytes: 2), let namesIndex = file.number(at: 62, bytes: 2),
      let names = file.number(at: table &+ namesIndex &* size &+ 24, bytes: 8)
    else { return false }
    return (0..<count).contains { (index: UInt64) -> Bool in
      guard let offset = file.number(at: table &+ index &* size, bytes: 4) else { return false }
      return file.bytes(at: names &+ offset, count: name.utf8.count + 1) == Array(name.utf8) + [0]
    }
  }
}

/// A file read here and there.
final class FileBytes {
  private let descriptor: Int32

  init(_ path: String) { descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC) }
  deinit { if descriptor >= 0 { close(descriptor) } }

  /// As many bytes as there are, at most `count`.
  func bytes(at offset: UInt64, count: Int) -> [UInt8] {
    guard let offset = off_t(exactly: offset) else { return [] }
    return unsafe [UInt8](unsafeUninitializedCapacity: count) { buffer, got in
      got = unsafe max(0, pread(descriptor, buffer.baseAddress, count, offset))
    }
  }

  func prefix(_ count: Int) -> [UInt8] { bytes(at: 0, count: count) }
  func starts(with bytes: [UInt8]) -> Bool { prefix(bytes.count) == bytes }

  /// A little-endian number; nil past the end.
  func number(at offset: UInt64, bytes count: Int) -> UInt64? {
    let found = bytes(at: offset, count: count)
    guard found.count == count else { return nil }
    return found.reversed().reduce(0) { $0 << 8 | UInt64($1) }
  }
}
