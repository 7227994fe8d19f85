import Clients
import Hardware

/// The memory of one inode as a source of pages: by way of the host's own opening of the file, or
/// else through whichever client has it mapped.
final class FileMemory: MemoryBacking {
  let key: FileKey
  var file: HostMemoryFile?
  private unowned let clients: ClientDirectory
  private weak var lastSpace: AddressSpace?
  private var lastAddress: UInt64 = 0

  init(_ key: FileKey, clients: ClientDirectory) {
    self.key = key
    self.clients = clients
  }

  func read(at offset: UInt64, into bytes: UnsafeMutableRawBufferPointer) throws(MemoryFault) {
    if let file { return try unsafe file.read(at: offset, into: bytes) }
    try forEachPiece(offset, bytes.count, writable: false) {
      (space, address, range) throws(MemoryFault) in
      try unsafe space.read(
        at: address, into: UnsafeMutableRawBufferPointer(rebasing: bytes[range]))
    }
  }

  func write(at offset: UInt64, from bytes: UnsafeRawBufferPointer) throws(MemoryFault) {
    if let file { return try unsafe file.write(at: offset, from: bytes) }
    try forEachPiece(offset, bytes.count, writable: true) {
      (space, address, range) throws(MemoryFault) in
      try unsafe space.write(at: address, from: UnsafeRawBufferPointer(rebasing: bytes[range]))
    }
  }

  private func forEachPiece(
    _ offset: UInt64, _ count: Int, writable: Bool,
    _ body: (AddressSpace, UInt64, Range<Int>) throws(MemoryFault) -> Void
  ) throws(MemoryFault) {
    var done = 0
    while done < count {
      let position = offset + UInt64(done)
      let (space, mapping) = try locate(position, writable: writable)
      let address = mapping.start + (position - mapping.offset)
      let piece = Int(min(UInt64(count - done), mapping.end - address))
      try body(space, address, done..<done + piece)
      done += piece
    }
  }

  /// The mapping used last is looked at first; it is asked anew each time, since clients unmap.
  private func locate(
    _ offset: UInt64, writable: Bool
  ) throws(MemoryFault) -> (AddressSpace, Mapping) {
    if let space = lastSpace, let mapping = try? space.mapping(at: lastAddress),
      mapping.file == key, mapping.isOfFile, mapping.allows(writing: writable),
      mapping.shows(fileOffset: offset)
    {
      return (space, mapping)
    }
    for (_, space) in clients.members {
      if let mapping = space.findMapping(of: key, at: offset, writable: writable) {
        lastSpace = space
        lastAddress = mapping.start
        return (space, mapping)
      }
    }
    throw .gone
  }
}

/// What the memory of one client is looked for in: all clients that are alive, and the pages of the
/// host that they map.
final class ClientDirectory {
  var members: [(process: Int32, space: AddressSpace)] = []
  var hostPages: Set<FileKey> = []
}
