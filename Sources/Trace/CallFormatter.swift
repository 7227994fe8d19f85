public import Clients

/// Writes calls down, one line each.
public struct CallFormatter: Sendable {
  public enum Style: Sendable {
    /// As strace does.
    case text
    /// An object a line: numbers as numbers, addresses as hexadecimal strings.
    case json
  }

  private let style: Style
  private let colour: Bool

  /// `colour` marks names and errors for a terminal; JSON stays plain.
  public init(style: Style, colour: Bool = false) {
    self.style = style
    self.colour = colour
  }

  /// The line of a call, without its end.
  public func line(for record: CallRecord) -> String {
    let call = DecodedCall(record)
    return switch style {
    case .text: TextLine(colour: colour).line(for: record, call)
    case .json: JSONLine.line(for: record, call)
    }
  }
}

/// The error number a refused call ended with, by name.
func errorName(of record: CallRecord) -> String? {
  guard record.result < 0 else { return nil }
  return Int32(exactly: -record.result).flatMap { Errno(rawValue: $0) }.map { "\($0)" }
}

func hexadecimal(_ number: UInt64) -> String { "0x" + String(number, radix: 16) }
