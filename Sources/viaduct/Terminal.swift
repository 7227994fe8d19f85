import Glibc

/// Where colours are welcome.
enum Terminal {
  static func hasColours(_ descriptor: Int32) -> Bool {
    guard isatty(descriptor) == 1, variable("NO_COLOR") == nil else { return false }
    return variable("TERM").map { $0 != "dumb" } ?? false
  }

  static func paint(_ text: String, _ code: String, on descriptor: Int32) -> String {
    hasColours(descriptor) ? "\u{1b}[\(code)m\(text)\u{1b}[0m" : text
  }
}

/// An environment variable, unless it is unset or empty.
func variable(_ name: String) -> String? {
  guard let value = unsafe getenv(name), unsafe value.pointee != 0 else { return nil }
  return unsafe String(cString: value)
}

/// A path that stays good when a client changes its directory.
func absolutePath(_ path: String) -> String {
  if path.hasPrefix("/") { return path }
  guard let current = unsafe getcwd(nil, 0) else { return path }
  defer { unsafe free(current) }
  return unsafe String(cString: current) + "/" + path
}

/// Why a command did not do what was asked.
struct CommandError: Error, CustomStringConvertible {
  let description: String

  init(_ description: String) { self.description = description }
  init(_ description: String, errno number: Int32) {
    self.description = unsafe "\(description): \(String(cString: strerror(number)))"
  }
}

/// Prints a message as all of them are printed, on standard error.
func complain(_ message: String) {
  writeLine("viaduct: \(message)", to: STDERR_FILENO)
}

/// Writes a line at once, past any buffer.
func writeLine(_ text: String, to descriptor: Int32) {
  let line = Array((text + "\n").utf8)
  var done = 0
  while done < line.count {
    let written = unsafe line[done...].withUnsafeBytes {
      unsafe write(descriptor, $0.baseAddress, $0.count)
    }
    guard written > 0 else { return }
    done += written
  }
}
