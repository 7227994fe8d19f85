/// IOVAs that a client wants to keep usable; a device that reserved any of them is refused.
/// Disjoint.
struct AllowedRanges {
  /// Sorted by start.
  private(set) var ranges: [ClosedRange<UInt64>] = []

  var isEmpty: Bool { ranges.isEmpty }

  /// The same numbers with touching ranges joined.
  var joined: [ClosedRange<UInt64>] {
    var joined: [ClosedRange<UInt64>] = []
    for range in ranges {
      if let previous = joined.last, previous.upperBound + 1 == range.lowerBound {
        joined[joined.count - 1] = previous.lowerBound...range.upperBound
      } else {
        joined.append(range)
      }
    }
    return joined
  }

  /// Adds a range; false when it overlaps one that is there.
  mutating func add(_ range: ClosedRange<UInt64>) -> Bool {
    let index = firstIndex(endingAtOrAfter: range.lowerBound)
    if index < ranges.count, ranges[index].lowerBound <= range.upperBound { return false }
    ranges.insert(range, at: index)
    return true
  }

  func intersects(_ range: ClosedRange<UInt64>) -> Bool {
    let index = firstIndex(endingAtOrAfter: range.lowerBound)
    return index < ranges.count && ranges[index].lowerBound <= range.upperBound
  }

  private func firstIndex(endingAtOrAfter value: UInt64) -> Int {
    var low = 0
    var high = ranges.count
    while low < high {
      let middle = (low + high) / 2
      if ranges[middle].upperBound < value { low = middle + 1 } else { high = middle }
    }
    return low
  }
}
