import CChannel

/// Up to as many stretches of a window as an answer can carry, in order and apart from one another.
/// When there would be more, the two with the smallest gap become one.
struct WrittenExtents {
  private static var capacity: Int { Int(VIADUCT_WRITES) }

  private var ranges: [Range<Int>] = []

  var count: Int { ranges.count }
  subscript(index: Int) -> Range<Int> { ranges[index] }

  mutating func insert(_ range: Range<Int>) {
    if let last = ranges.indices.last, range.lowerBound == ranges[last].upperBound {
      ranges[last] = ranges[last].lowerBound..<range.upperBound
      return
    }
    let first = ranges.firstIndex { $0.upperBound >= range.lowerBound } ?? ranges.count
    var merged = range
    var end = first
    while end < ranges.count, ranges[end].lowerBound <= range.upperBound {
      merged =
        min(
          merged.lowerBound, ranges[end].lowerBound)..<max(
          merged.upperBound, ranges[end].upperBound)
      end += 1
    }
    ranges.replaceSubrange(first..<end, with: CollectionOfOne(merged))
    if ranges.count > Self.capacity { mergeClosest() }
  }

  private mutating func mergeClosest() {
    var closest = 1
    for index in ranges.indices.dropFirst() where gap(before: index) < gap(before: closest) {
      closest = index
    }
    let merged = ranges[closest - 1].lowerBound..<ranges[closest].upperBound
    ranges.replaceSubrange(closest - 1...closest, with: CollectionOfOne(merged))
  }

  private func gap(before index: Int) -> Int {
    ranges[index].lowerBound - ranges[index - 1].upperBound
  }
}
