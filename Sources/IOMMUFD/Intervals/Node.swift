/// The most intervals of a leaf, and the most children of an inner node.
let capacity = 32

extension IntervalMap {
  /// A leaf (starts, lasts, values) or an inner node (first keys, gap bounds, children); which one,
  /// the level tells.
  @safe struct Node {
    var count = 0
    var next: UnsafeMutablePointer<Node>?
    var previous: UnsafeMutablePointer<Node>?
    let keys: UnsafeMutablePointer<UInt64>
    /// Leaf: the intervals' last numbers. Inner: gap bounds.
    let extents: UnsafeMutablePointer<UInt64>
    /// Leaf: values. Inner: children.
    let payload: UnsafeMutableRawPointer
  }
}

extension IntervalMap.Node {
  typealias Map = IntervalMap<Value>
  typealias Pointer = UnsafeMutablePointer<Self>

  private static var childStride: Int { MemoryLayout<UInt>.stride }
  private static var payloadBytes: Int {
    capacity * max(MemoryLayout<Value>.stride, childStride)
  }

  /// One allocation holds the node and its three arrays; deallocating the node frees them all.
  static func make() -> Pointer {
    let head = (MemoryLayout<Self>.stride + 63) & ~63
    let words = capacity * MemoryLayout<UInt64>.stride
    let memory = UnsafeMutableRawPointer.allocate(
      byteCount: head + 2 * words + payloadBytes, alignment: 64)
    let node = unsafe memory.bindMemory(to: Self.self, capacity: 1)
    unsafe node.initialize(
      to: Self(
        keys: (memory + head).bindMemory(to: UInt64.self, capacity: capacity),
        extents: (memory + head + words).bindMemory(to: UInt64.self, capacity: capacity),
        payload: memory + head + 2 * words))
    return unsafe node
  }

  var values: UnsafeMutablePointer<Value> {
    unsafe payload.assumingMemoryBound(to: Value.self)
  }
  var childPointers: UnsafeMutablePointer<Pointer> {
    unsafe payload.assumingMemoryBound(to: Pointer.self)
  }

  func entry(_ index: Int) -> Map.Entry {
    unsafe Map.Entry(start: keys[index], last: extents[index], value: values[index])
  }

  func children(_ index: Int) -> Pointer {
    unsafe childPointers[index]
  }

  /// Leaf: the first interval that ends at `key` or behind it.
  func leafIndex(reaching key: UInt64) -> Int {
    var low = 0
    var high = count
    while low < high {
      let middle = (low + high) / 2
      if unsafe extents[middle] < key { low = middle + 1 } else { high = middle }
    }
    return low
  }

  /// Leaf: the first interval that starts at `key` or behind it.
  func leafIndex(startingAtOrAfter key: UInt64) -> Int {
    var low = 0
    var high = count
    while low < high {
      let middle = (low + high) / 2
      if unsafe keys[middle] < key { low = middle + 1 } else { high = middle }
    }
    return low
  }

  /// Inner: the last child whose first key is not above `key`, else the first one.
  func childHolding(_ key: UInt64) -> Int {
    var low = 1
    var high = count
    while low < high {
      let middle = (low + high) / 2
      if unsafe keys[middle] <= key { low = middle + 1 } else { high = middle }
    }
    return low - 1
  }

  /// Inner: the child to look in for the first interval that ends at `key` or behind it. The leaf
  /// after it may hold the answer.
  func child(reaching key: UInt64) -> Int { childHolding(key) }

  func bound(_ index: Int) -> UInt64 { unsafe extents[index] }
  func setBound(_ index: Int, to value: UInt64) { unsafe extents[index] = value }
  func raiseBound(_ index: Int, to value: UInt64) {
    if unsafe extents[index] < value { unsafe extents[index] = value }
  }
  func setValue(_ value: Value, at index: Int) { unsafe values[index] = value }

  /// Inner: the child's first key after it changed.
  func refreshKey(_ index: Int, isLeaf: Bool) {
    unsafe keys[index] = childPointers[index].pointee.keys[0]
  }

  private func openSlot(_ index: Int, payloadStride: Int) {
    unsafe (keys + index + 1).update(from: keys + index, count: count - index)
    unsafe (extents + index + 1).update(from: extents + index, count: count - index)
    unsafe (payload + (index + 1) * payloadStride).copyMemory(
      from: payload + index * payloadStride, byteCount: (count - index) * payloadStride)
  }

  private func closeSlot(_ index: Int, payloadStride: Int) {
    let tail = count - index - 1
    unsafe (keys + index).update(from: keys + index + 1, count: tail)
    unsafe (extents + index).update(from: extents + index + 1, count: tail)
    unsafe (payload + index * payloadStride).copyMemory(
      from: payload + (index + 1) * payloadStride, byteCount: tail * payloadStride)
  }

  /// Moves everything from `index` on into a new node and returns it.
  private mutating func splitOff(from index: Int, payloadStride: Int) -> Pointer {
    let right = unsafe Self.make()
    let moved = count - index
    unsafe right.pointee.keys.update(from: keys + index, count: moved)
    unsafe right.pointee.extents.update(from: extents + index, count: moved)
    unsafe right.pointee.payload.copyMemory(
      from: payload + index * payloadStride, byteCount: moved * payloadStride)
    unsafe right.pointee.count = moved
    count = index
    return unsafe right
  }

  mutating func appendChild(_ child: Pointer, bound: UInt64, isLeaf: Bool) {
    unsafe keys[count] = child.pointee.keys[0]
    unsafe extents[count] = bound
    unsafe childPointers[count] = child
    count += 1
  }

  mutating func removeChild(_ index: Int) {
    closeSlot(index, payloadStride: Self.childStride)
    count -= 1
  }

  mutating func removeEntry(startingAt start: UInt64) -> Value? {
    let index = leafIndex(startingAtOrAfter: start)
    guard index < count, unsafe keys[index] == start else { return nil }
    let value = unsafe values[index]
    closeSlot(index, payloadStride: MemoryLayout<Value>.stride)
    count -= 1
    return value
  }

  func unlink() {
    unsafe previous?.pointee.next = next
    unsafe next?.pointee.previous = previous
  }

  /// Inserts into a leaf; the new right neighbour when it had to split.
  static func insert(_ entry: Map.Entry, into leaf: Pointer) -> Pointer? {
    var target = unsafe leaf
    var split: Pointer?
    var index = unsafe leaf.pointee.leafIndex(startingAtOrAfter: entry.start)
    if unsafe leaf.pointee.count == capacity {
      // Ascending insertion, the common case, leaves full nodes behind.
      let cut = index == capacity ? capacity - 1 : capacity / 2
      let right = unsafe leaf.pointee.splitOff(
        from: cut, payloadStride: MemoryLayout<Value>.stride)
      unsafe right.pointee.next = leaf.pointee.next
      unsafe right.pointee.previous = leaf
      unsafe leaf.pointee.next?.pointee.previous = right
      unsafe leaf.pointee.next = right
      unsafe split = right
      if index > cut {
        unsafe target = right
        index -= cut
      }
    }
    unsafe target.pointee.openSlot(index, payloadStride: MemoryLayout<Value>.stride)
    unsafe target.pointee.keys[index] = entry.start
    unsafe target.pointee.extents[index] = entry.last
    unsafe target.pointee.values[index] = entry.value
    unsafe target.pointee.count += 1
    return unsafe split
  }

  /// Inserts a child behind `index`; the new right neighbour of `node` when it had to split.
  static func insertChild(
    _ child: Pointer, after index: Int, in node: Pointer, isLeaf: Bool
  ) -> Pointer? {
    var target = unsafe node
    var split: Pointer?
    var slot = index + 1
    let bound = unsafe node.pointee.extents[index]
    if unsafe node.pointee.count == capacity {
      let cut = slot == capacity ? capacity - 1 : capacity / 2
      let right = unsafe node.pointee.splitOff(
        from: cut, payloadStride: childStride)
      unsafe split = right
      if slot > cut {
        unsafe target = right
        slot -= cut
      }
    }
    unsafe target.pointee.openSlot(slot, payloadStride: Self.childStride)
    unsafe target.pointee.keys[slot] = child.pointee.keys[0]
    unsafe target.pointee.extents[slot] = bound
    unsafe target.pointee.childPointers[slot] = child
    unsafe target.pointee.count += 1
    return unsafe split
  }
}
