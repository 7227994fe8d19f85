import CHost
import Clients
import Glibc
import Hardware

/// One request, as the machine sees its caller.
///
/// Where the host may not take a descriptor from the client, `descriptor` answers nil and the
/// request is given up: the client sends the descriptor and makes the request again. That is sound
/// because every call looks descriptors up before it changes anything.
final class ServedCaller: Caller {
  struct PromisedFile {
    var file: any MachineFile
    var closeOnExec: Bool
    /// Where the number goes; nil makes it the call's result.
    var address: UInt64?
  }

  let process: any ClientProcess
  private let session: Session
  private let space: AddressSpace
  private let core: Core
  private let realm: Realm
  private let request: host_request
  private let window: CallWindow

  /// The number of a descriptor that the client has to send.
  private(set) var wantedDescriptor: Int32?
  private(set) var promised: PromisedFile?

  init(_ request: host_request, session: Session, realm: Realm, core: Core) {
    self.request = request
    self.session = session
    self.realm = realm
    self.core = core
    process = session.process(in: realm)
    space = session.space
    window = core.window
  }

  func read(at address: UInt64, into bytes: UnsafeMutableRawBufferPointer) throws(MemoryFault) {
    let (before, inside) = try split(address, bytes.count, limit: window.readable)
    if inside.isEmpty { return try unsafe space.read(at: address, into: bytes) }
    let end = before + inside.count
    if before > 0 {
      try unsafe space.read(
        at: address, into: UnsafeMutableRawBufferPointer(rebasing: bytes[..<before]))
    }
    unsafe window.read(
      at: inside.lowerBound, into: UnsafeMutableRawBufferPointer(rebasing: bytes[before..<end]))
    if end < bytes.count {
      try unsafe space.read(
        at: address + UInt64(end), into: UnsafeMutableRawBufferPointer(rebasing: bytes[end...]))
    }
  }

  func write(at address: UInt64, from bytes: UnsafeRawBufferPointer) throws(MemoryFault) {
    let (before, inside) = try split(address, bytes.count, limit: window.writable)
    if inside.isEmpty { return try unsafe space.write(at: address, from: bytes) }
    let end = before + inside.count
    if before > 0 {
      try unsafe space.write(at: address, from: UnsafeRawBufferPointer(rebasing: bytes[..<before]))
    }
    unsafe window.write(
      at: inside.lowerBound, from: UnsafeRawBufferPointer(rebasing: bytes[before..<end]))
    if end < bytes.count {
      try unsafe space.write(
        at: address + UInt64(end), from: UnsafeRawBufferPointer(rebasing: bytes[end...]))
    }
  }

  /// How many of the bytes lie below the window, and which part of the window they cover.
  private func split(
    _ address: UInt64, _ count: Int, limit: Int
  ) throws(MemoryFault) -> (before: Int, inside: Range<Int>) {
    let (end, overflow) = address.addingReportingOverflow(UInt64(count))
    guard !overflow else { throw .notAccessible }
    let start = max(address, window.address)
    let stop = min(end, window.address + UInt64(limit))
    guard start < stop else { return (0, 0..<0) }
    let first = Int(start - window.address)
    return (Int(start - address), first..<first + Int(stop - start))
  }

  func descriptor(_ number: Int32) -> PassedDescriptor? {
    guard number >= 0, wantedDescriptor == nil else { return nil }
    switch fetch(number) {
    case .closed: return nil
    case .refused:
      wantedDescriptor = number
      return nil
    case .open(let descriptor):
      return meaning(of: descriptor)
    }
  }

  func install(
    _ file: any MachineFile, closeOnExec: Bool, numberAt address: UInt64?
  ) throws(Refusal) {
    precondition(promised == nil, "a call makes at most one descriptor")
    if let address, !isWritable(address, byteCount: 4) {
      throw Refusal(.EFAULT, because: "the descriptor's number cannot be written")
    }
    promised = PromisedFile(file: file, closeOnExec: closeOnExec, address: address)
  }

  private func isWritable(_ address: UInt64, byteCount: UInt64) -> Bool {
    if address >= window.address, address - window.address <= UInt64(window.writable),
      UInt64(window.writable) - (address - window.address) >= byteCount
    {
      return true
    }
    return space.isWritable(address, byteCount: byteCount)
  }

  private enum Fetched {
    case open(Descriptor)
    case closed
    /// The host may not look.
    case refused
  }

  private func fetch(_ number: Int32) -> Fetched {
    if let sent = session.provided[request.thread]?[number] {
      return sent.map { .open($0) } ?? .closed
    }
    guard core.configuration.descriptors == .automatic, let owner = tableOwner() else {
      return .refused
    }
    let taken = host_pidfd_getfd(owner.number, number)
    if taken == -EBADF { return .closed }
    return taken >= 0 ? .open(Descriptor(owning: taken)) : .refused
  }

  /// The process whose descriptors the number means: a vfork child calls on its parent's channel
  /// but has descriptors of its own.
  private func tableOwner() -> Descriptor? {
    if request.process == session.nameInClient { return session.processDescriptor }
    guard session.nameInClient == session.identity.process,
      session.identity.isOwner(of: request.process)
    else { return nil }
    let opened = host_pidfd_open(request.process)
    return opened >= 0 ? Descriptor(owning: opened) : nil
  }

  private func meaning(of descriptor: Descriptor) -> PassedDescriptor? {
    guard let status = descriptor.status, !status.is_path_only else { return nil }
    let key = FileKey(status)
    if let ours = core.files[key], ours.realm === realm { return .machine(ours.file) }
    if let open = realm.openFile(key) {
      return .foreign(PassedFile(memory: realm.source(of: open), handle: open))
    }
    let file = HostMemoryFile(descriptor, status)
    let memory = file.isMemory ? realm.source(of: file) : nil
    return .foreign(PassedFile(memory: memory, handle: file))
  }
}
