internal import Clients

/// The form for people.
struct TextLine {
  let colour: Bool

  private enum Paint: String {
    case process = "\u{1b}[2m"
    case name = "\u{1b}[36m"
    case error = "\u{1b}[31m"
  }

  private func paint(_ text: String, _ paint: Paint) -> String {
    colour ? paint.rawValue + text + "\u{1b}[0m" : text
  }

  func line(for record: CallRecord, _ call: DecodedCall) -> String {
    let thread = record.thread == record.process ? "" : "/\(record.thread)"
    let process = paint("[\(record.process)\(thread)]", .process)
    return "\(process) \(self.call(record, call))\(result(record, call))"
  }

  private func call(_ record: CallRecord, _ call: DecodedCall) -> String {
    let name = paint(call.command ?? verb(record.operation), .name)
    guard record.operation == .ioctl else { return "\(name)(\(arguments(record, call)))" }
    return switch call.argument {
    case .nothing: "\(name)()"
    case .value(let value): "\(name)(\(Self.text(value)))"
    case .fields(let fields): "\(name){\(Self.text(fields))}"
    case .unreadable: "\(name)(\(hexadecimal(record.address)))"
    case .unknown: "\(name)(\(arguments(record, call)))"
    }
  }

  private func verb(_ operation: CallRecord.Operation) -> String {
    operation == .status ? "stat" : operation.rawValue
  }

  /// What stands between the parentheses of a call that is no ioctl we know.
  private func arguments(_ record: CallRecord, _ call: DecodedCall) -> String {
    var arguments: [String] = []
    switch record.operation {
    case .open, .status, .readLink:
      arguments.append("\"\(escaped(record.name))\"")
    case .ioctl, .read, .write, .map, .closed, .replaced, .installationFailed, .processStarted,
      .processEnded:
      if !record.name.isEmpty { arguments.append(escaped(record.name)) }
    }
    switch record.operation {
    case .ioctl:
      arguments.append(hexadecimal(UInt64(record.command ?? 0)))
      arguments.append(hexadecimal(record.address))
    case .write where !call.records.isEmpty:
      arguments.append(contentsOf: call.records.map { "{\(Self.text($0))}" })
      arguments.append(Self.length(record.byteCount))
    case .read, .write, .map, .replaced:
      if record.address != 0 { arguments.append(hexadecimal(record.address)) }
      arguments.append(Self.length(record.byteCount))
    case .open, .status, .readLink, .closed, .installationFailed, .processStarted, .processEnded:
      break
    }
    return arguments.joined(separator: ", ")
  }

  private func result(_ record: CallRecord, _ call: DecodedCall) -> String {
    var text: String
    switch record.operation {
    case .closed, .replaced, .installationFailed, .processStarted, .processEnded:
      guard record.result != 0 || record.rule != nil else { return "" }
      text = " = "
    case .open, .status, .readLink, .ioctl, .read, .write, .map:
      text = " = "
    }
    if record.result < 0 {
      let name = errorName(of: record) ?? "error \(record.result.magnitude)"
      text += paint("-1 \(name)", .error)
    } else if record.operation == .map, record.result > 0 {
      text += hexadecimal(UInt64(record.result))
    } else {
      text += "\(record.result)"
    }
    if let rule = record.rule { text += " (refused because \(rule))" }
    if !call.output.isEmpty { text += ", " + Self.text(call.output) }
    if record.operation == .read {
      for fields in call.records { text += ", {\(Self.text(fields))}" }
    }
    return text
  }
}

extension TextLine {
  private static func text(_ fields: [DecodedField]) -> String {
    fields.map { "\($0.name)=\(text($0.value))" }.joined(separator: ", ")
  }

  private static func text(_ value: DecodedValue) -> String {
    switch value {
    case .missing: return "?"
    case .number(let number): return "\(number)"
    case .signed(let number): return "\(number)"
    case .address(let number), .word(let number): return hexadecimal(number)
    case .length(let number): return length(number)
    case .name(let name): return name
    case .flags(let names, let rest):
      let parts = rest == 0 ? names : names + [hexadecimal(rest)]
      return parts.isEmpty ? "0" : parts.joined(separator: "|")
    }
  }

  /// A number of bytes in the largest unit that divides it.
  static func length(_ number: UInt64) -> String {
    // Beyond every address space: a length that means "everything" or was never one.
    guard number < 1 << 60 else { return hexadecimal(number) }
    for (shift, unit) in [(30, "G"), (20, "M"), (10, "K")] as [(UInt64, String)]
    where number > 0 && number % (1 << shift) == 0 {
      return "\(number >> shift)\(unit)"
    }
    return "\(number)"
  }
}
