import CHost
import Glibc

/// Why a program was not run, and the status that shells use for it.
struct ProgramError: Error, CustomStringConvertible {
  let description: String
  let exitStatus: Int32

  static func notFound(_ description: String) -> Self {
    Self(description: description, exitStatus: 127)
  }
  static func notServed(_ description: String) -> Self {
    Self(description: description, exitStatus: 126)
  }
}

/// A program that can be run with the library in it.
struct Program {
  private let path: String
  private let words: [String]
  /// Why it may see less of the machine than it should.
  let warning: String?

  init(_ words: [String]) throws(ProgramError) {
    self.words = words
    path = try Self.find(words.first ?? "")
    warning = try ProgramImage.judge(path)
  }

  /// Starts it as a client of the server at `socketPath`.
  func start(socketPath: String) throws(ProgramError) -> Int32 {
    let library = try Self.findLibrary()
    let others = variable("LD_PRELOAD").map { ":" + $0 } ?? ""
    unsafe setenv("LD_PRELOAD", library + others, 1)
    unsafe setenv("VIADUCT_SOCKET", socketPath, 1)

    var arguments: [UnsafeMutablePointer<CChar>?] = unsafe words.map { unsafe strdup($0) }
    unsafe arguments.append(nil)
    defer { for index in unsafe arguments.indices { unsafe free(arguments[index]) } }
    var process: Int32 = 0
    let error = unsafe -host_spawn(path, arguments, &process)
    guard error == 0 else {
      let text = "cannot run \(path): \(unsafe String(cString: strerror(error)))"
      throw error == ENOENT ? .notFound(text) : .notServed(text)
    }
    return process
  }

  /// A name without a slash is looked for as a shell does.
  static func find(_ name: String) throws(ProgramError) -> String {
    guard !name.isEmpty else { throw .notFound("the name of the program is empty") }
    if name.contains("/") {
      guard unsafe access(name, F_OK) == 0 else { throw .notFound("\(name): not found") }
      guard isProgram(name) else { throw .notServed("\(name): not an executable file") }
      return name
    }
    for directory in (variable("PATH") ?? "/usr/bin:/bin").split(
      separator: ":", omittingEmptySubsequences: false)
    {
      let candidate = (directory.isEmpty ? "." : String(directory)) + "/" + name
      if isProgram(candidate) { return candidate }
    }
    throw .notFound("\(name): not found in PATH")
  }

  private static func isProgram(_ path: String) -> Bool {
    var status = stat()
    return unsafe stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFREG
      && access(path, X_OK) == 0
  }

  /// The library lies beside this program, or where an installation puts it.
  static func findLibrary() throws(ProgramError) -> String {
    let own = ownPath()
    let directory = own.lastIndex(of: "/").map { String(own[..<$0]) } ?? "."
    for place in ["", "/../lib", "/../lib/viaduct"] {
      let candidate = directory + place + "/libviaduct.so"
      guard unsafe access(candidate, R_OK) == 0 else { continue }
      guard !candidate.contains(where: { $0 == ":" || $0 == " " }) else {
        throw .notServed("\(candidate): LD_PRELOAD cannot hold a path with a colon or space")
      }
      return candidate
    }
    throw .notServed("libviaduct.so is missing: it belongs beside \(own)")
  }

  private static func ownPath() -> String {
    guard let path = unsafe realpath("/proc/self/exe", nil) else { return CommandLine.arguments[0] }
    defer { unsafe free(path) }
    return unsafe String(cString: path)
  }
}
