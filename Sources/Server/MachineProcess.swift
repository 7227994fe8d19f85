import Clients
import Hardware

/// A client process as one machine sees it.
final class MachineProcess: ClientProcess {
  private let identity: ProcessIdentity
  private let space: AddressSpace
  unowned let realm: Realm
  private let clients: ClientDirectory
  /// The process's private memory, named by address.
  let privateMemory: MemorySource

  var pinnedPages = 0
  var lockedPages = 0

  init(_ identity: ProcessIdentity, space: AddressSpace, realm: Realm, clients: ClientDirectory) {
    self.identity = identity
    self.space = space
    self.realm = realm
    self.clients = clients
    privateMemory = MemorySource(
      backing: PrivateMemory(of: space), in: realm.machine.physicalMemory)
  }

  var isAlive: Bool { space.isAlive }
  var userID: UInt32 { identity.user }
  func has(_ capability: Capability) -> Bool { identity.has(capability) }
  var lockedMemoryLimit: UInt64? { identity.lockedMemoryLimit }

  func read(at address: UInt64, into bytes: UnsafeMutableRawBufferPointer) throws(MemoryFault) {
    try unsafe space.read(at: address, into: bytes)
  }

  func write(at address: UInt64, from bytes: UnsafeRawBufferPointer) throws(MemoryFault) {
    try unsafe space.write(at: address, from: bytes)
  }

  func resolve(
    _ address: UInt64, byteCount: UInt64, writable: Bool, _ report: (SourceExtent) -> Void
  ) throws(MemoryFault) {
    let (end, overflow) = address.addingReportingOverflow(byteCount)
    guard !overflow, end <= 1 << Replacements.generationShift else { throw .notAccessible }
    var cursor = address
    while cursor < end {
      let mapping = try space.mapping(at: cursor)
      guard mapping.allows(writing: writable) else { throw .notAccessible }
      let stop = min(end, mapping.end)
      if mapping.isOfFile {
        report(
          SourceExtent(
            source: try source(of: mapping), offset: mapping.fileOffset(of: cursor),
            byteCount: stop - cursor))
      } else {
        space.replacements.forEach(in: cursor..<stop) { part, generation in
          report(
            SourceExtent(
              source: privateMemory,
              offset: Replacements.byte(at: part.lowerBound, generation: generation),
              byteCount: part.upperBound - part.lowerBound))
        }
      }
      cursor = stop
    }
  }

  /// Pages of the host are device memory to the client, and those cannot be pinned.
  private func source(of mapping: Mapping) throws(MemoryFault) -> MemorySource {
    guard !clients.hostPages.contains(mapping.file) else { throw .notAccessible }
    return realm.source(of: mapping.file) { findOpening(of: mapping, by: identity.process) }
  }
}
