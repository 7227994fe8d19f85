import Clients
import Glibc
import Trace

/// Writes each call as a line.
final class CallLog: CallObserver {
  private let descriptor: Int32
  private let formatter: CallFormatter

  /// `-` is standard error.
  init(path: String, isJSON: Bool) throws {
    if path == "-" {
      descriptor = STDERR_FILENO
    } else {
      descriptor = unsafe open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
      guard descriptor >= 0 else { throw CommandError("cannot write \(path)", errno: errno) }
    }
    formatter = CallFormatter(
      style: isJSON ? .json : .text, colour: Terminal.hasColours(descriptor))
  }

  func called(_ record: CallRecord) {
    writeLine(formatter.line(for: record), to: descriptor)
  }
}
