internal import Clients

/// The objects of one context by number. Numbers start at 1; the lowest free one is taken.
struct ObjectTable {
  private enum Slot {
    case free
    /// A number taken by an object that is still being made.
    case reserved
    /// A number whose object went with the object it depended on; it is never used again.
    case tombstone
    case object(ContextObject)
  }

  private var slots: [Slot] = [.reserved]  // Number 0 names nothing.
  private var lowestCandidate = 1
  private(set) var occupied = 0

  /// Whether no number is taken, reserved or buried.
  var isEmpty: Bool { occupied == 0 }

  mutating func reserve() -> UInt32 {
    let index = Int(nextID)
    if index == slots.count { slots.append(.reserved) } else { slots[index] = .reserved }
    lowestCandidate = index + 1
    occupied += 1
    return UInt32(index)
  }

  mutating func publish(_ object: ContextObject) {
    slots[Int(object.id)] = .object(object)
  }

  mutating func release(_ id: UInt32) {
    slots[Int(id)] = .free
    lowestCandidate = min(lowestCandidate, Int(id))
    occupied -= 1
  }

  mutating func bury(_ id: UInt32) {
    slots[Int(id)] = .tombstone
  }

  subscript(id: UInt32) -> ContextObject? {
    guard id < slots.count, case .object(let object) = slots[Int(id)] else { return nil }
    return object
  }

  /// The number that the next object gets.
  var nextID: UInt32 {
    var index = lowestCandidate
    while index < slots.count {
      if case .free = slots[index] { break }
      index += 1
    }
    return UInt32(index)
  }

  /// Published objects in the order of their numbers.
  var objects: [ContextObject] {
    slots.compactMap { slot in
      if case .object(let object) = slot { object } else { nil }
    }
  }
}
