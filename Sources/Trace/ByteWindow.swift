/// The part of a client's memory that a record shows. It can end anywhere.
struct ByteWindow {
  let bytes: [UInt8]
  /// Where the structure in question starts.
  var base = 0

  var isEmpty: Bool { base >= bytes.count }

  /// The number at a place, little-endian as in memory; nil when the window ends before it does.
  func number(at place: FieldPlace) -> UInt64? {
    let start = base + place.offset
    guard start + place.width <= bytes.count else { return nil }
    return bytes[start..<start + place.width].reversed().reduce(0) { $0 << 8 | UInt64($1) }
  }

  func meets(_ condition: FieldCondition) -> Bool {
    guard let value = number(at: condition.place) else { return false }
    return value & condition.mask == condition.value
  }
}
