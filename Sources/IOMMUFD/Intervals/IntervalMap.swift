/// Disjoint closed intervals of 64-bit numbers, each with a value: a B+ tree.
///
/// Every operation is logarithmic in the number of intervals. Beside its children an inner node
/// keeps, for each child, an upper bound of the widest gap in front of any of the child's
/// intervals; the search for free room skips what cannot hold it and tightens the bounds it found
/// too high.
@safe struct IntervalMap<Value: BitwiseCopyable>: ~Copyable {
  struct Entry: BitwiseCopyable {
    var start: UInt64
    var last: UInt64
    var value: Value
  }

  private(set) var count = 0
  var root: UnsafeMutablePointer<Node>
  /// Number of inner levels above the leaves.
  var height = 0

  init() {
    unsafe root = Node.make()
  }

  deinit {
    unsafe Self.free(root, height: height)
  }

  var isEmpty: Bool { count == 0 }

  /// The interval that holds `key`, or the first one behind it.
  func first(reaching key: UInt64) -> Entry? {
    var node = unsafe root
    for _ in 0..<height {
      let child = unsafe node.pointee.child(reaching: key)
      unsafe node = node.pointee.children(child)
    }
    var index = unsafe node.pointee.leafIndex(reaching: key)
    if unsafe index == node.pointee.count {
      guard let next = unsafe node.pointee.next else { return nil }
      unsafe node = next
      index = 0
    }
    return unsafe node.pointee.entry(index)
  }

  /// The interval that holds `key`.
  func entry(containing key: UInt64) -> Entry? {
    guard let entry = first(reaching: key), entry.start <= key else { return nil }
    return entry
  }

  /// The first interval that shares a number with `start...last`.
  func first(intersecting start: UInt64, _ last: UInt64) -> Entry? {
    guard let entry = first(reaching: start), entry.start <= last else { return nil }
    return entry
  }

  /// Calls `body` for each interval that shares a number with `start...last`, in order, until it
  /// returns false. The map must not change meanwhile.
  func forEach(
    intersecting start: UInt64, _ last: UInt64, _ body: (Entry) -> Bool
  ) {
    var node = unsafe root
    for _ in 0..<height {
      let child = unsafe node.pointee.child(reaching: start)
      unsafe node = node.pointee.children(child)
    }
    var index = unsafe node.pointee.leafIndex(reaching: start)
    while true {
      while unsafe index < node.pointee.count {
        let entry = unsafe node.pointee.entry(index)
        guard entry.start <= last, body(entry) else { return }
        index += 1
      }
      guard let next = unsafe node.pointee.next else { return }
      unsafe node = next
      index = 0
    }
  }

  /// Gives the interval that starts at `start` another value.
  mutating func update(startingAt start: UInt64, to value: Value) {
    var node = unsafe root
    for _ in 0..<height {
      let child = unsafe node.pointee.child(reaching: start)
      unsafe node = node.pointee.children(child)
    }
    let index = unsafe node.pointee.leafIndex(reaching: start)
    unsafe precondition(
      index < node.pointee.count && node.pointee.entry(index).start == start,
      "no interval starts there")
    unsafe node.pointee.setValue(value, at: index)
  }
}

extension IntervalMap {
  /// Adds an interval that shares no number with those present.
  mutating func insert(start: UInt64, last: UInt64, value: Value) {
    precondition(start <= last, "an interval ends before it starts")
    let previousLast = lastInterval(before: start)
    let gap = previousLast.map { start - $0 - 1 } ?? start
    if let split = unsafe insert(
      Entry(start: start, last: last, value: value), gap: gap, into: root, height: height)
    {
      let newRoot = unsafe Node.make()
      unsafe newRoot.pointee.appendChild(root, bound: .max, isLeaf: height == 0)
      unsafe newRoot.pointee.appendChild(split, bound: .max, isLeaf: height == 0)
      unsafe root = newRoot
      height += 1
    }
    count += 1
  }

  /// Removes the interval that starts at `start`; its value, or nil when there is none.
  @discardableResult
  mutating func remove(startingAt start: UInt64) -> Value? {
    guard let removed = unsafe remove(start, from: root, height: height) else { return nil }
    count -= 1
    while unsafe height > 0 && root.pointee.count == 1 {
      let only = unsafe root.pointee.children(0)
      unsafe root.deallocate()
      unsafe root = only
      height -= 1
    }
    // The room in front of the next interval has grown.
    if let next = first(reaching: start) {
      let previousLast = lastInterval(before: next.start)
      raiseBounds(
        reaching: next.start, to: previousLast.map { next.start - $0 - 1 } ?? next.start)
    }
    return removed
  }

  /// The end of the last interval that lies wholly below `key`.
  func lastInterval(before key: UInt64) -> UInt64? {
    var node = unsafe root
    for _ in 0..<height {
      let child = unsafe node.pointee.childHolding(key)
      unsafe node = node.pointee.children(child)
    }
    var index = unsafe node.pointee.leafIndex(startingAtOrAfter: key)
    if index == 0 {
      guard let previous = unsafe node.pointee.previous else { return nil }
      unsafe node = previous
      index = unsafe node.pointee.count
    }
    return unsafe node.pointee.entry(index - 1).last
  }

  private func insert(
    _ entry: Entry, gap: UInt64, into node: UnsafeMutablePointer<Node>, height: Int
  ) -> UnsafeMutablePointer<Node>? {
    if height == 0 {
      return unsafe Node.insert(entry, into: node)
    }
    let index = unsafe node.pointee.childHolding(entry.start)
    let child = unsafe node.pointee.children(index)
    unsafe node.pointee.raiseBound(index, to: gap)
    let split = unsafe insert(entry, gap: gap, into: child, height: height - 1)
    unsafe node.pointee.refreshKey(index, isLeaf: height == 1)
    guard let split = unsafe split else { return nil }
    return unsafe Node.insertChild(split, after: index, in: node, isLeaf: height == 1)
  }

  private func remove(
    _ start: UInt64, from node: UnsafeMutablePointer<Node>, height: Int
  ) -> Value? {
    if height == 0 { return unsafe node.pointee.removeEntry(startingAt: start) }
    let index = unsafe node.pointee.childHolding(start)
    let child = unsafe node.pointee.children(index)
    guard let value = unsafe remove(start, from: child, height: height - 1) else { return nil }
    if unsafe child.pointee.count == 0 {
      if height == 1 { unsafe child.pointee.unlink() }
      unsafe child.deallocate()
      unsafe node.pointee.removeChild(index)
    } else {
      unsafe node.pointee.refreshKey(index, isLeaf: height == 1)
    }
    return value
  }

  private func raiseBounds(reaching start: UInt64, to gap: UInt64) {
    var node = unsafe root
    for _ in 0..<height {
      let index = unsafe node.pointee.childHolding(start)
      unsafe node.pointee.raiseBound(index, to: gap)
      unsafe node = node.pointee.children(index)
    }
  }

  private static func free(_ node: UnsafeMutablePointer<Node>, height: Int) {
    if height > 0 {
      for index in unsafe 0..<node.pointee.count {
        unsafe free(node.pointee.children(index), height: height - 1)
      }
    }
    unsafe node.deallocate()
  }
}

extension IntervalMap {
  /// The first maximal gap of at least `length` numbers that lies, clipped to `start...last`, in
  /// that range: its first and last number.
  mutating func gap(
    ofAtLeast length: UInt64, from start: UInt64, through last: UInt64
  ) -> (first: UInt64, last: UInt64)? {
    guard length > 0, start <= last else { return nil }
    var low = start
    if let inside = entry(containing: low) {
      guard inside.last < last else { return nil }
      low = inside.last + 1
    }
    // The gap that `low` lies in may have begun before it; behind it the bounds hold.
    guard let next = first(reaching: low) else {
      return last - low >= length - 1 ? (low, last) : nil
    }
    if next.start > low {
      let end = min(next.start - 1, last)
      if end - low >= length - 1 { return (low, end) }
      if end == last { return nil }
    }
    var previousLast = next.last
    var found: (UInt64, UInt64)?
    unsafe search(
      root, height: height, after: next.start, length: length, limit: last,
      previousLast: &previousLast, found: &found)
    if let found { return found }
    // Nothing between two intervals: the room behind the last one.
    guard let end = unsafe greatest(root, height: height), end < last else { return nil }
    let first = max(end + 1, low)
    return last - first >= length - 1 ? (first, last) : nil
  }

  private func greatest(_ node: UnsafeMutablePointer<Node>, height: Int) -> UInt64? {
    var node = unsafe node
    for _ in 0..<height {
      unsafe node = node.pointee.children(node.pointee.count - 1)
    }
    let count = unsafe node.pointee.count
    return count == 0 ? nil : unsafe node.pointee.entry(count - 1).last
  }

  /// Looks for a gap in front of an interval that starts behind `after`. Returns the widest gap in
  /// front of any interval of `node`, when the whole of it was seen.
  @discardableResult
  private func search(
    _ node: UnsafeMutablePointer<Node>, height: Int, after: UInt64, length: UInt64,
    limit: UInt64, previousLast: inout UInt64, found: inout (UInt64, UInt64)?
  ) -> UInt64? {
    var widest: UInt64 = 0
    var whole = true
    let count = unsafe node.pointee.count
    if height == 0 {
      for index in 0..<count {
        let entry = unsafe node.pointee.entry(index)
        guard entry.start > after else {
          whole = false
          continue
        }
        let gap = entry.start - previousLast - 1
        widest = max(widest, gap)
        if gap >= length {
          let end = min(entry.start - 1, limit)
          if previousLast < limit, end - previousLast >= length {
            found = (previousLast + 1, end)
            return nil
          }
        }
        previousLast = entry.last
        if previousLast >= limit { return nil }
      }
      return whole ? widest : nil
    }
    let from = unsafe node.pointee.childHolding(after)
    if from > 0 { whole = false }
    for index in from..<count {
      let child = unsafe node.pointee.children(index)
      let bound = unsafe node.pointee.bound(index)
      if index > from, bound < length {
        widest = max(widest, bound)
        previousLast = unsafe greatest(child, height: height - 1) ?? previousLast
      } else if let seen = unsafe search(
        child, height: height - 1, after: after, length: length, limit: limit,
        previousLast: &previousLast, found: &found)
      {
        unsafe node.pointee.setBound(index, to: seen)
        widest = max(widest, seen)
      } else {
        whole = false
      }
      if found != nil || previousLast >= limit { return nil }
    }
    return whole ? widest : nil
  }
}
