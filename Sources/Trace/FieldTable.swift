/// A value of the interface and the name it is known by.
struct NamedValue: Sendable {
  let value: UInt64
  let name: String
}

func names<Value: FixedWidthInteger>(_ pairs: (Value, String)...) -> [NamedValue] {
  pairs.map { NamedValue(value: UInt64(truncatingIfNeeded: $0.0), name: $0.1) }
}

/// How the number in a field is meant.
enum FieldKind: Sendable {
  /// An id, a count, an index.
  case number
  /// A descriptor, which can be -1.
  case descriptor
  /// A descriptor that the client gets after the call: its number is not known yet.
  case newDescriptor
  case address
  /// A number of bytes.
  case length
  /// A word without further meaning, such as a bitmap of page sizes.
  case word
  case flags([NamedValue])
  case choice([NamedValue])
}

/// When a field is worth showing.
struct FieldUse: OptionSet, Sendable {
  let rawValue: UInt8
  static var input: Self { Self(rawValue: 1) }
  /// Shown as an input when the call was refused; otherwise an output says it as well.
  static var inputOfRefused: Self { Self(rawValue: 2) }
  static var output: Self { Self(rawValue: 4) }
  /// Written back even when the call was refused.
  static var outputOfRefused: Self { Self(rawValue: 8) }
  /// An option that most calls leave at zero.
  static var unlessZero: Self { Self(rawValue: 16) }
}

/// Where a number lies in a structure.
struct FieldPlace: Sendable {
  var offset: Int
  var width: Int
}

/// A field that counts only when another one has certain bits.
struct FieldCondition: Sendable {
  var place: FieldPlace
  var mask: UInt64
  var value: UInt64
}

struct Field: Sendable {
  let name: String
  var place: FieldPlace
  let kind: FieldKind
  let use: FieldUse
  var condition: FieldCondition?

  /// The same field of a structure that starts `bytes` further on.
  func moved(by bytes: Int) -> Self {
    var moved = self
    moved.place.offset += bytes
    moved.condition?.place.offset += bytes
    return moved
  }
}

/// A field of a C structure, which says where it lies and how wide it is.
struct FieldOf<Structure> {
  let field: Field

  static func field<Value: FixedWidthInteger>(
    _ name: String, _ path: KeyPath<Structure, Value>, _ kind: FieldKind, _ use: FieldUse,
    when condition: ConditionOf<Structure>? = nil
  ) -> Self {
    Self(
      field: Field(
        name: name, place: place(of: path), kind: kind, use: use, condition: condition?.condition))
  }

  static func input<Value: FixedWidthInteger>(
    _ name: String, _ path: KeyPath<Structure, Value>, _ kind: FieldKind,
    when condition: ConditionOf<Structure>? = nil
  ) -> Self {
    field(name, path, kind, .input, when: condition)
  }

  /// An input that most calls leave at zero.
  static func option<Value: FixedWidthInteger>(
    _ name: String, _ path: KeyPath<Structure, Value>, _ kind: FieldKind
  ) -> Self {
    field(name, path, kind, [.input, .unlessZero])
  }

  static func output<Value: FixedWidthInteger>(
    _ name: String, _ path: KeyPath<Structure, Value>, _ kind: FieldKind,
    when condition: ConditionOf<Structure>? = nil
  ) -> Self {
    field(name, path, kind, .output, when: condition)
  }
}

struct ConditionOf<Structure> {
  let condition: FieldCondition

  static func has<Value: FixedWidthInteger>(
    _ path: KeyPath<Structure, Value>, _ bits: Value
  ) -> Self {
    let bits = UInt64(truncatingIfNeeded: bits)
    return Self(condition: FieldCondition(place: place(of: path), mask: bits, value: bits))
  }

  static func equals<Value: FixedWidthInteger>(
    _ path: KeyPath<Structure, Value>, _ value: Value
  ) -> Self {
    let value = UInt64(truncatingIfNeeded: value)
    return Self(condition: FieldCondition(place: place(of: path), mask: .max, value: value))
  }
}

private func place<Structure, Value: FixedWidthInteger>(
  of path: KeyPath<Structure, Value>
) -> FieldPlace {
  guard let offset = MemoryLayout<Structure>.offset(of: path) else {
    preconditionFailure("a field of a C structure has an offset")
  }
  return FieldPlace(offset: offset, width: MemoryLayout<Value>.size)
}
