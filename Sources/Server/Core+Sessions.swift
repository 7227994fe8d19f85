import CChannel
import CHost
import Clients
import Glibc

extension Core {
  /// How many client processes are served at a time.
  private static var sessionLimit: Int { 1024 }

  /// Prepares to serve the process at the other end of a connection.
  func makeSession(
    _ message: viaduct_message, _ peer: host_peer, _ given: Descriptor?
  ) throws(SystemError) -> (Session, channel: Descriptor) {
    let (count, number, realm) = lock.withLock { () -> (Int, UInt64, Realm) in
      (sessions.count, makeSessionNumber(), self.realm(for: peer.process))
    }
    guard count < Self.sessionLimit else { throw SystemError(number: EMFILE) }
    let process: Descriptor
    if let given { process = given } else { process = try processDescriptor(of: peer.process) }
    let (channel, descriptor) = try Channel.make()
    let direct = configuration.memory == .automatic ? try openMemory(of: peer.process) : nil
    // What was opened by number is this process's only if it still is the one that called.
    guard host_poll(process.number, HOST_READABLE) == 0 else { throw SystemError(number: ESRCH) }
    channel.prepare(prefixes: prefixes, tree: tree.root, needsHelper: direct == nil)

    let access: any MemoryAccess =
      direct ?? HelperMemory(channel: channel, processDescriptor: process)
    let identity = ProcessIdentity(
      process: peer.process, user: peer.user, group: peer.group,
      enforcesLockLimit: configuration.lockedMemory == .client)
    let session = Session(
      number: number, identity: identity, nameInClient: message.process,
      processDescriptor: process, channel: channel, space: AddressSpace(access: access),
      realm: realm, clients: clients)
    return (session, descriptor)
  }

  /// Keeps a descriptor that a client sent for the request it is about to repeat: only what it was
  /// asked for, as a vfork child is that speaks on its parent's channel.
  func keep(_ descriptor: Descriptor?, as message: viaduct_message, from process: Int32) -> Bool {
    let number = Int32(truncatingIfNeeded: message.value)
    let expecting = sessions.values.first {
      $0.provided[message.thread]?.expects(number, from: process) ?? false
    }
    return expecting?.provided[message.thread]?.insert(descriptor, for: number) ?? false
  }

  private func processDescriptor(of process: Int32) throws(SystemError) -> Descriptor {
    let opened = host_pidfd_open(process)
    guard opened >= 0 else { throw SystemError(number: -opened) }
    return Descriptor(owning: opened)
  }

  /// Nil where the host may not look into the process.
  private func openMemory(of process: Int32) throws(SystemError) -> ProcessMemory? {
    do throws(SystemError) {
      return try ProcessMemory(process: process)
    } catch {
      guard error.number == EACCES || error.number == EPERM else { throw error }
      return nil
    }
  }
}
