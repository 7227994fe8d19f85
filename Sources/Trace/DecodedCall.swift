internal import Clients

/// The meaning of one field of one call.
enum DecodedValue: Equatable {
  /// Outside the bytes that were recorded.
  case missing
  case number(UInt64)
  case signed(Int64)
  case address(UInt64)
  case length(UInt64)
  case word(UInt64)
  /// Names of the bits that have one, and the bits that have none.
  case flags([String], rest: UInt64)
  case name(String)

  init(_ number: UInt64, width: Int, kind: FieldKind) {
    switch kind {
    case .number: self = .number(number)
    case .newDescriptor: self = .name("new")
    case .descriptor:
      let unused = UInt64(64 - width * 8)
      self = .signed(Int64(bitPattern: number << unused) >> Int64(unused))
    case .address: self = .address(number)
    case .length: self = .length(number)
    case .word: self = .word(number)
    case .flags(let names):
      let present = names.filter { number & $0.value == $0.value }
      let known = present.reduce(0) { $0 | $1.value }
      self = .flags(present.map(\.name), rest: number & ~known)
    case .choice(let names):
      let name = names.first { $0.value == number }?.name
      // Numbers chosen to be recognised are written in hexadecimal.
      self = name.map { .name($0) } ?? (number > 0xfff ? .word(number) : .number(number))
    }
  }
}

struct DecodedField: Equatable {
  var name: String
  var value: DecodedValue
}

/// A call taken apart, ready to be written in any style.
struct DecodedCall {
  enum Argument: Equatable {
    /// No ioctl, or one that takes nothing.
    case nothing
    case value(DecodedValue)
    case fields([DecodedField])
    /// The structure could not be read at all.
    case unreadable
    /// An ioctl without a name.
    case unknown
  }

  /// Of an ioctl we know.
  var command: String?
  var argument = Argument.nothing
  var output: [DecodedField] = []
  /// What was read from or written to a queue.
  var records: [[DecodedField]] = []

  init(_ record: CallRecord) {
    switch record.operation {
    case .ioctl: decodeCommand(record)
    case .read:
      decodeRecords(record.bytesAfter, of: record, byteCount: record.result)
    case .write:
      let byteCount = Int64(clamping: record.byteCount)
      decodeRecords(record.bytesBefore, of: record, byteCount: byteCount)
    case .open, .status, .readLink, .map, .closed, .replaced, .installationFailed,
      .processStarted, .processEnded:
      return
    }
  }

  private mutating func decodeCommand(_ record: CallRecord) {
    let before = ByteWindow(bytes: record.bytesBefore)
    guard let layout = CommandTable.layout(of: record.command ?? 0, argument: before) else {
      argument = .unknown
      return
    }
    command = layout.name
    switch layout.argument {
    case .nothing: argument = .nothing
    case .value(let kind):
      argument = .value(DecodedValue(record.address & 0xffff_ffff, width: 4, kind: kind))
    case .structure(let byteCount, let fields):
      guard !before.isEmpty else {
        argument = .unreadable
        return
      }
      let sizePlace = FieldPlace(offset: 0, width: 4)
      let size = before.number(at: sizePlace) ?? UInt64(byteCount)
      let isRefused = record.result < 0
      var input = Self.decode(
        fields, in: before, within: size, use: isRefused ? [.input, .inputOfRefused] : .input)
      if size != byteCount { input.insert(DecodedField(name: "size", value: .number(size)), at: 0) }
      argument = .fields(input)
      output = Self.decode(
        fields, in: ByteWindow(bytes: record.bytesAfter), within: size,
        use: isRefused ? .outputOfRefused : [.output, .outputOfRefused])
    }
  }

  /// The fields of a use. Those behind the client's idea of the size do not exist for it.
  private static func decode(
    _ fields: [Field], in window: ByteWindow, within size: UInt64, use: FieldUse
  ) -> [DecodedField] {
    var decoded: [DecodedField] = []
    for field in fields where !field.use.isDisjoint(with: use) {
      guard UInt64(field.place.offset + field.place.width) <= size else { continue }
      if let condition = field.condition, !window.meets(condition) { continue }
      let number = window.number(at: field.place)
      if field.use.contains(.unlessZero), number == 0 { continue }
      let value = number.map { DecodedValue($0, width: field.place.width, kind: field.kind) }
      decoded.append(DecodedField(name: field.name, value: value ?? .missing))
    }
    return decoded
  }

  /// Whole records, as far as the window shows them.
  private mutating func decodeRecords(_ bytes: [UInt8], of record: CallRecord, byteCount: Int64) {
    let isRead = record.operation == .read
    guard let layout = CommandTable.record(in: record.name, isRead: isRead) else { return }
    let end = min(bytes.count, Int(clamping: byteCount))
    records = stride(from: 0, through: end - layout.byteCount, by: layout.byteCount).map { base in
      let window = ByteWindow(bytes: bytes, base: base)
      return Self.decode(layout.fields, in: window, within: .max, use: .input)
    }
  }
}
