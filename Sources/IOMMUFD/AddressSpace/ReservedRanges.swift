/// IOVAs that cannot be mapped, by who reserved them; they may overlap.
struct ReservedRanges {
  private struct Reservation {
    var range: ClosedRange<UInt64>
    var owner: ObjectIdentifier?
  }

  /// Sorted by start.
  private var reservations: [Reservation] = []

  mutating func add(_ range: ClosedRange<UInt64>, owner: AnyObject?) {
    let index =
      reservations.firstIndex { $0.range.lowerBound > range.lowerBound } ?? reservations.count
    reservations.insert(
      Reservation(range: range, owner: owner.map { ObjectIdentifier($0) }), at: index)
  }

  mutating func removeAll(of owner: AnyObject?) {
    let owner = owner.map { ObjectIdentifier($0) }
    reservations.removeAll { $0.owner == owner }
  }

  func intersects(_ range: ClosedRange<UInt64>) -> Bool {
    reservations.contains { $0.range.overlaps(range) }
  }

  /// Calls `body` for each maximal stretch of `range` that nobody reserved, until it returns false.
  func forEachHole(in range: ClosedRange<UInt64>, _ body: (ClosedRange<UInt64>) -> Bool) {
    var next = range.lowerBound
    for reservation in reservations {
      let reserved = reservation.range
      guard reserved.lowerBound <= range.upperBound else { break }
      guard reserved.upperBound >= next else { continue }
      if reserved.lowerBound > next, !body(next...(reserved.lowerBound - 1)) { return }
      guard reserved.upperBound < range.upperBound else { return }
      next = reserved.upperBound + 1
    }
    _ = body(next...range.upperBound)
  }
}
