import Hardware

/// The address space of one client process, from its first call until it executes another program
/// or ends.
final class AddressSpace {
  /// Nil once the session has ended: nothing is reached any more, whatever the process does.
  private var access: (any MemoryAccess)?
  private(set) var replacements = Replacements()

  init(access: any MemoryAccess) { self.access = access }

  var isAlive: Bool { access?.isAlive ?? false }

  func end() { access = nil }

  func mapping(at address: UInt64) throws(MemoryFault) -> Mapping {
    guard let access else { throw .gone }
    return try access.mapping(at: address)
  }

  func read(at address: UInt64, into bytes: UnsafeMutableRawBufferPointer) throws(MemoryFault) {
    guard let access else { throw .gone }
    try unsafe access.read(at: address, into: bytes)
  }

  func write(at address: UInt64, from bytes: UnsafeRawBufferPointer) throws(MemoryFault) {
    guard let access else { throw .gone }
    try unsafe access.write(at: address, from: bytes)
  }

  func isWritable(_ address: UInt64, byteCount: UInt64) -> Bool {
    access?.isWritable(address, byteCount: byteCount) ?? false
  }

  /// Where byte `offset` of a file is mapped.
  func findMapping(of file: FileKey, at offset: UInt64, writable: Bool) -> Mapping? {
    firstSharedMapping {
      $0.file == file && $0.allows(writing: writable) && $0.shows(fileOffset: offset)
    }
  }

  func maps(_ file: FileKey) -> Bool { firstSharedMapping { $0.file == file } != nil }

  private func firstSharedMapping(where matches: (Mapping) -> Bool) -> Mapping? {
    var cursor: UInt64 = 0
    while let found = try? access?.mapping(from: cursor, sharedOnly: true) {
      if found.isOfFile && matches(found) { return found }
      cursor = found.end
    }
    return nil
  }

  /// Memory was unmapped or mapped anew. What of it is pinned in any of the sources gets out of
  /// reach.
  func replace(_ range: Range<UInt64>, pinnedIn sources: [MemorySource]) {
    func isPinned(_ range: Range<UInt64>, _ generation: UInt64) -> Bool {
      let first = Replacements.byte(at: range.lowerBound, generation: generation) >> pageShift
      let count = UInt64(range.count) >> pageShift
      return sources.contains { $0.isPinned(firstPage: first, pageCount: count) }
    }
    guard sources.contains(where: { $0.isPinned }) else { return replacements.removeAll() }
    var isAffected = false
    replacements.forEach(in: range) { part, generation in
      isAffected = isAffected || isPinned(part, generation)
    }
    if isAffected { replacements.replace(range) { isPinned(range, $0) } }
  }
}

/// The private memory of an address space as a source of pages: a byte is named by its address and
/// the generation of what is mapped there.
final class PrivateMemory: MemoryBacking {
  private let space: AddressSpace

  init(of space: AddressSpace) { self.space = space }

  func read(at offset: UInt64, into bytes: UnsafeMutableRawBufferPointer) throws(MemoryFault) {
    let address = try address(ofByte: offset, count: bytes.count)
    try unsafe space.read(at: address, into: bytes)
  }

  func write(at offset: UInt64, from bytes: UnsafeRawBufferPointer) throws(MemoryFault) {
    let address = try address(ofByte: offset, count: bytes.count)
    try unsafe space.write(at: address, from: bytes)
  }

  private func address(ofByte offset: UInt64, count: Int) throws(MemoryFault) -> UInt64 {
    let address = Replacements.address(ofByte: offset)
    let expected = Replacements.generation(ofByte: offset)
    if space.replacements.isEmpty {
      guard expected == 0 else { throw .gone }
      return address
    }
    try space.replacements.forEach(in: address..<address + UInt64(count)) {
      (_, generation) throws(MemoryFault) in
      guard generation == expected else { throw .gone }
    }
    return address
  }
}
