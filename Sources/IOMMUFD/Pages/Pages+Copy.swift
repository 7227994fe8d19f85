internal import Clients
internal import Hardware
internal import IOMMUCore

extension Pages {
  /// Copies bytes out, from byte `start` of the pages on.
  func read(
    _ start: UInt64, into bytes: UnsafeMutableRawBufferPointer, slowly: Bool, caller: any Caller
  ) throws(Refusal) {
    if let address = try directAddress(start, bytes.count, slowly: slowly, caller) {
      return try asFault { () throws(MemoryFault) in
        try unsafe caller.read(at: address, into: bytes)
      }
    }
    try forEachPiece(start, bytes.count, writing: false) {
      (place, offset, count) throws(MemoryFault) in
      let piece = unsafe UnsafeMutableRawBufferPointer(rebasing: bytes[offset..<offset + count])
      try unsafe place.source.backing.read(at: place.offset, into: piece)
    }
  }

  /// Copies bytes in.
  func write(
    _ start: UInt64, from bytes: UnsafeRawBufferPointer, slowly: Bool, caller: any Caller
  ) throws(Refusal) {
    if let address = try directAddress(start, bytes.count, slowly: slowly, caller) {
      return try asFault { () throws(MemoryFault) in
        try unsafe caller.write(at: address, from: bytes)
      }
    }
    try forEachPiece(start, bytes.count, writing: true) {
      (place, offset, count) throws(MemoryFault) in
      let piece = unsafe UnsafeRawBufferPointer(rebasing: bytes[offset..<offset + count])
      try unsafe place.source.backing.write(at: place.offset, from: piece)
    }
  }

  /// The caller's own memory needs no detour by pages, as the kernel copies to and from user space.
  private func directAddress(
    _ start: UInt64, _ count: Int, slowly: Bool, _ caller: any Caller
  ) throws(Refusal) -> UInt64? {
    guard !slowly, case .process(let process, let address) = backing, process === caller.process
    else { return nil }
    return address &+ start
  }

  /// Calls `body` with the place of each piece of the range: where it is pinned, or where it lies
  /// now.
  private func forEachPiece(
    _ start: UInt64, _ byteCount: Int, writing: Bool,
    _ body: (SourceExtent, _ offset: Int, _ count: Int) throws(MemoryFault) -> Void
  ) throws(Refusal) {
    let end = start + UInt64(byteCount)
    let isOnePage = start >> pageShift == (end - 1) >> pageShift
    try environmentStep(.EINVAL)
    var places: [SourceExtent] = []
    var next = start
    while next < end {
      let page = next >> pageShift
      let count = min(end, (page + 1) << pageShift) - next
      // Like the kernel, a single page of a living process is looked up where it lies now, longer
      // ranges where devices see them.
      let byPin = isPinned(page) && !(isOnePage && isLivingProcessMemory)
      var place =
        byPin
        ? pinnedExtent(page) : try presentExtent(page, writable: isOnePage ? writing : isWritable)
      place.offset += next % pageBytes
      place.byteCount = count
      places.append(place)
      next += count
    }
    // Nothing is copied before every page is known to be there.
    var offset = 0
    for place in places {
      try asFault { () throws(MemoryFault) in try body(place, offset, Int(place.byteCount)) }
      offset += Int(place.byteCount)
    }
  }

  private var isLivingProcessMemory: Bool {
    if case .process(let process, _) = backing { process.isAlive } else { false }
  }

  private func asFault(_ body: () throws(MemoryFault) -> Void) throws(Refusal) {
    do throws(MemoryFault) {
      try body()
    } catch {
      throw Refusal(.EFAULT, because: "the memory behind the mapping cannot be reached")
    }
  }
}
