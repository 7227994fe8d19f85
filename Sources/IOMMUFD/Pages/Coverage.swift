/// How many users each page of a `Pages` object has: areas with a domain, and accesses.
///
/// Nearly always one user has all of it, which costs no tree.
struct Coverage {
  private struct Single {
    var first: UInt64
    var last: UInt64
    var count: UInt32
  }

  private var single: Single?
  /// Disjoint segments with their counts, above zero, once users differ.
  private var segments: Tree?

  private final class Tree {
    var map = IntervalMap<UInt32>()
  }

  var isEmpty: Bool {
    segments == nil ? single == nil : segments?.map.isEmpty == true
  }

  /// Calls `body` for each stretch of `first...last` that has no user.
  func forEachUncovered<Failure: Error>(
    _ first: UInt64, _ last: UInt64, _ body: (UInt64, UInt64) throws(Failure) -> Void
  ) throws(Failure) {
    var next = first
    while let segment = segment(reaching: next), segment.start <= last {
      if segment.start > next { try body(next, segment.start - 1) }
      guard segment.last < last else { return }
      next = segment.last + 1
    }
    try body(next, last)
  }

  func isCovered(_ page: UInt64) -> Bool {
    guard let segment = segment(reaching: page) else { return false }
    return segment.start <= page
  }

  private func segment(reaching page: UInt64) -> (start: UInt64, last: UInt64)? {
    if let segments { return segments.map.first(reaching: page).map { ($0.start, $0.last) } }
    guard let single, single.last >= page else { return nil }
    return (single.first, single.last)
  }

  /// Adds a user of `first...last`.
  mutating func add(_ first: UInt64, _ last: UInt64) {
    if segments == nil {
      guard let present = single else {
        single = Single(first: first, last: last, count: 1)
        return
      }
      if present.first == first, present.last == last {
        single?.count += 1
        return
      }
      useSegments()
    }
    forEachSegment(first, last) { $0 + 1 }
  }

  /// Removes a user of `first...last` and reports what is left without any.
  mutating func remove(_ first: UInt64, _ last: UInt64, _ uncovered: (UInt64, UInt64) -> Void) {
    if segments == nil {
      if let present = single, present.first == first, present.last == last {
        single?.count -= 1
        if present.count == 1 {
          single = nil
          uncovered(first, last)
        }
        return
      }
      useSegments()
    }
    var freed: [(UInt64, UInt64)] = []
    forEachSegment(first, last) {
      precondition($0 > 0, "a page lost a user that it did not have")
      return $0 - 1
    } emptied: {
      freed.append(($0, $1))
    }
    for range in freed { uncovered(range.0, range.1) }
    if segments?.map.isEmpty == true { segments = nil }
  }

  private mutating func useSegments() {
    let tree = Tree()
    if let single { tree.map.insert(start: single.first, last: single.last, value: single.count) }
    single = nil
    segments = tree
  }

  /// Gives every page of the range a new count; ranges with count 0 have no segment.
  private mutating func forEachSegment(
    _ first: UInt64, _ last: UInt64, _ change: (UInt32) -> UInt32,
    emptied: (UInt64, UInt64) -> Void = { _, _ in }
  ) {
    splitSegment(before: first)
    if last < .max { splitSegment(before: last + 1) }
    var next = first
    while true {
      let present = segments?.map.first(reaching: next)
      if let present, present.start == next, next <= last {
        let count = change(present.value)
        if count == 0 {
          segments?.map.remove(startingAt: next)
          emptied(next, present.last)
        } else {
          segments?.map.update(startingAt: next, to: count)
        }
        guard present.last < last else { return }
        next = present.last + 1
      } else {
        let end = present.map { min($0.start - 1, last) } ?? last
        segments?.map.insert(start: next, last: end, value: change(0))
        guard end < last else { return }
        next = end + 1
      }
    }
  }

  /// Makes sure that no segment spans the border in front of `page`.
  private mutating func splitSegment(before page: UInt64) {
    guard let present = segments?.map.entry(containing: page), present.start < page else { return }
    segments?.map.remove(startingAt: present.start)
    segments?.map.insert(start: present.start, last: page - 1, value: present.value)
    segments?.map.insert(start: page, last: present.last, value: present.value)
  }
}
