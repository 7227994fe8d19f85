internal import Clients

/// The form for programs.
enum JSONLine {
  static func line(for record: CallRecord, _ call: DecodedCall) -> String {
    var object = JSONObject()
    object.add("process", number: Int64(record.process))
    object.add("thread", number: Int64(record.thread))
    object.add("start", json: wide(record.start))
    object.add("nanoseconds", json: wide(record.nanoseconds))
    object.add("operation", string: record.operation.rawValue)
    object.add("name", string: record.name)
    if let command = call.command { object.add("command", string: command) }
    if let request = record.command { object.add("request", number: Int64(request)) }
    object.add("address", string: hexadecimal(record.address))
    if record.byteCount > 0 { object.add("bytes", json: wide(record.byteCount)) }
    switch call.argument {
    case .nothing, .unreadable, .unknown: break
    case .value(let value): object.add("argument", json: json(value))
    case .fields(let fields): object.add("input", json: json(fields))
    }
    object.add("result", number: record.result)
    if let error = errorName(of: record) { object.add("error", string: error) }
    if let rule = record.rule { object.add("rule", string: "\(rule)") }
    if !call.output.isEmpty { object.add("output", json: json(call.output)) }
    if !call.records.isEmpty {
      object.add("records", json: "[" + call.records.map(json).joined(separator: ",") + "]")
    }
    return object.text
  }

  private static func json(_ fields: [DecodedField]) -> String {
    var object = JSONObject()
    for field in fields { object.add(field.name, json: json(field.value)) }
    return object.text
  }

  private static func json(_ value: DecodedValue) -> String {
    switch value {
    case .missing: return "null"
    case .number(let number), .length(let number): return wide(number)
    case .signed(let number): return "\(number)"
    case .address(let number), .word(let number): return quoted(hexadecimal(number))
    case .name(let name): return quoted(name)
    case .flags(let names, let rest):
      let parts = rest == 0 ? names : names + [hexadecimal(rest)]
      return "[" + parts.map(quoted).joined(separator: ",") + "]"
    }
  }

  /// Most programs read numbers as doubles: what those cannot hold is written as addresses are.
  private static func wide(_ number: UInt64) -> String {
    number <= 1 << 53 ? "\(number)" : quoted(hexadecimal(number))
  }
}

/// Members in the order in which they are added.
private struct JSONObject {
  private var members = ""

  var text: String { "{\(members)}" }

  mutating func add(_ key: String, json: String) {
    if !members.isEmpty { members += "," }
    members += "\(quoted(key)):\(json)"
  }

  mutating func add(_ key: String, number: Int64) { add(key, json: "\(number)") }
  mutating func add(_ key: String, string: String) { add(key, json: quoted(string)) }
}

private func quoted(_ string: String) -> String { "\"\(escaped(string))\"" }
