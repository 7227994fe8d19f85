import CChannel
import CHost
import Clients
import Glibc

/// Who may be a client: the host's own user, the superuser, and whatever the host has started.
private func isWelcome(_ process: Int32, user: UInt32) -> Bool {
  if user == geteuid() || user == 0 { return true }
  let (host, depthLimit) = (getpid(), 64)
  var ancestor = process
  for _ in 0..<depthLimit where ancestor > 1 {
    let status = readWholeFile("/proc/\(ancestor)/status") ?? []
    ancestor = statusValue("PPid", in: status).flatMap { Int32($0) } ?? 0
    if ancestor == host { return true }
  }
  return false
}

/// The main loop: takes clients and their messages, and notices what ends.
final class Reception {
  /// Connections that have not said anything yet.
  private static let connectionLimit = 256
  /// How often lingering files are looked at.
  private static let tickMilliseconds: Int32 = 100

  /// What an event is about, in the upper bits of its key; a number is in the lower ones.
  private enum Source: UInt64 {
    case listener
    case wake
    case files
    case connection
    case process

    func key(_ number: UInt64) -> UInt64 { rawValue << 56 | number }
  }

  let core: Core
  private let listener: Descriptor
  private let wake: Descriptor
  private let watch: Descriptor
  private var isStopping = false
  private var connections: [UInt64: Descriptor] = [:]
  private var nextConnection: UInt64 = 0
  /// Given up when no other descriptor is free.
  private var spare = makeSpare()

  init(core: Core, listener: Descriptor) throws(SystemError) {
    self.core = core
    self.listener = listener
    let (watching, waking) = (host_epoll(), host_eventfd())
    guard watching >= 0, waking >= 0 else { throw SystemError(number: EMFILE) }
    watch = Descriptor(owning: watching)
    wake = Descriptor(owning: waking)
    for (descriptor, source) in [
      (listener, Source.listener), (wake, .wake), (core.files.watch, .files),
    ] {
      let added = host_epoll_add(watching, descriptor.number, HOST_READABLE, source.key(0))
      guard added == 0 else { throw SystemError(number: -added) }
    }
    core.lingeringChanged = { [wake] in Self.ring(wake) }
  }

  /// Runs on the server's thread until stopped.
  func run() {
    var events = InlineArray<32, host_event>(repeating: host_event())
    while !core.lock.withLock({ () -> Bool in isStopping }) {
      let hasLingering = core.lock.withLock { () -> Bool in !core.lingering.isEmpty }
      let count = unsafe withUnsafeMutableBytes(of: &events) { bytes in
        unsafe host_epoll_wait(
          watch.number, bytes.assumingMemoryBound(to: host_event.self).baseAddress, 32,
          hasLingering ? Self.tickMilliseconds : -1)
      }
      if count <= 0 {
        core.lock.withLock { () -> Void in core.releaseLingeringFiles(patiently: false) }
      }
      for index in 0..<max(0, Int(count)) { handle(key: events[index].key) }
    }
  }

  func stop() {
    core.lock.withLock { () -> Void in isStopping = true }
    Self.ring(wake)
  }

  /// After the loop has ended.
  func endAllSessions() {
    connections = [:]
    for session in core.lock.withLock({ () -> [Session] in Array(core.sessions.values) }) {
      end(session, hasExited: true)
    }
    core.lock.withLock { () -> Void in
      core.releaseEndedFiles()
      core.lingeringChanged = {}
      for file in core.files.all + core.lingering {
        core.files.remove(file)
        file.release()
      }
      core.lingering = []
    }
  }

  private static func ring(_ wake: Descriptor) {
    var one: UInt64 = 1
    _ = unsafe write(wake.number, &one, 8)
  }

  private func handle(key: UInt64) {
    let number = key & (1 << 56 - 1)
    switch Source(rawValue: key >> 56) {
    case .listener: acceptAll()
    case .wake:
      var count: UInt64 = 0
      _ = unsafe read(wake.number, &count, 8)
    case .files: core.lock.withLock { () -> Void in core.releaseEndedFiles() }
    case .connection: receive(number)
    case .process:
      if let session = core.lock.withLock({ () -> Session? in core.sessions[number] }) {
        end(session, hasExited: true)
      }
    case nil: break
    }
  }

  private func acceptAll() {
    while true {
      let accepted = host_accept(listener.number)
      if accepted == -EMFILE || accepted == -ENFILE, turnOneAway() { continue }
      guard accepted >= 0 else { return }
      let number = nextConnection
      nextConnection += 1
      if connections.count >= Self.connectionLimit, let oldest = connections.keys.min() {
        connections[oldest] = nil
      }
      connections[number] = Descriptor(owning: accepted)
      // Most clients have sent their message by now.
      if !receive(number) {
        _ = host_epoll_add(
          watch.number, accepted, HOST_READABLE, Source.connection.key(number))
      }
    }
  }

  /// Without a free descriptor a client would wait, and the listener stay ready, for ever. Under
  /// the lock, so that no session takes the spare one meanwhile.
  private func turnOneAway() -> Bool {
    core.lock.withLock { () -> Bool in
      spare = nil
      let accepted = host_accept(listener.number)
      if accepted >= 0 { close(accepted) }
      spare = Self.makeSpare()
      return accepted >= 0
    }
  }

  private static func makeSpare() -> Descriptor? {
    let made = host_eventfd()
    return made >= 0 ? Descriptor(owning: made) : nil
  }

  /// Takes the one message of a connection. False when it has not come yet.
  @discardableResult private func receive(_ number: UInt64) -> Bool {
    guard let connection = connections[number] else { return true }
    var message = viaduct_message()
    var passed: Int32 = -1
    let expected = MemoryLayout<viaduct_message>.size
    let length = unsafe withUnsafeMutableBytes(of: &message) { bytes in
      unsafe host_receive(connection.number, bytes.baseAddress, bytes.count, &passed)
    }
    if length == -EAGAIN { return false }
    connections[number] = nil
    var descriptor = passed >= 0 ? Descriptor(owning: passed) : nil
    var peer = host_peer()
    guard Int(length) == expected, unsafe host_peer(connection.number, &peer) == 0 else {
      return true
    }
    let process = peer.pidfd >= 0 ? Descriptor(owning: peer.pidfd) : nil
    guard isWelcome(peer.process, user: peer.user) else {
      reply(to: connection, error: EACCES)
      return true
    }
    guard message.version == VIADUCT_VERSION else {
      reply(to: connection, error: EPROTO)
      return true
    }
    switch viaduct_message_kind(message.kind) {
    case VIADUCT_HELLO: greet(message, peer, process, connection)
    case VIADUCT_CLAIM:
      var claimed = core.lock.withLock { () -> Descriptor? in
        core.claim(message.value, by: peer.process)
      }
      reply(to: connection, error: claimed == nil ? ENOENT : 0, with: claimed)
      // The client goes on when nothing but its own descriptor is left: its close is then the last.
      if claimed != nil {
        claimed = nil
        reply(to: connection, error: 0)
      }
    case VIADUCT_PROVIDE_MESSAGE:
      let kept = core.lock.withLock { () -> Bool in
        core.keep(descriptor, as: message, from: peer.process)
      }
      // The client goes on with the reply; its descriptor must not live on here.
      descriptor = nil
      reply(to: connection, error: kept ? 0 : EINVAL)
    default: reply(to: connection, error: EINVAL)
    }
    return true
  }

  private func reply(
    to connection: Descriptor, error: Int32, with descriptor: Descriptor? = nil
  ) {
    let reply = viaduct_reply(error: error, version: VIADUCT_VERSION)
    _ = unsafe withUnsafeBytes(of: reply) { bytes in
      unsafe host_send(
        connection.number, bytes.baseAddress, bytes.count, descriptor?.number ?? -1)
    }
  }

  private func greet(
    _ message: viaduct_message, _ peer: host_peer, _ given: Descriptor?, _ connection: Descriptor
  ) {
    if let previous = core.lock.withLock({ () -> Session? in
      core.session(ofProcess: peer.process)
    }) {
      end(previous, hasExited: false)
    }
    do throws(SystemError) {
      let (session, channel) = try core.makeSession(message, peer, given)
      core.lock.withLock { () -> Void in
        core.insert(session)
        core.observeProcess(session, .processStarted)
      }
      let added = host_epoll_add(
        watch.number, session.processDescriptor.number, HOST_READABLE,
        Source.process.key(session.number))
      let started = session.start { [core, unowned session] slot in core.serve(slot, of: session) }
      guard added == 0, started else {
        end(session, hasExited: true)
        throw SystemError(number: EAGAIN)
      }
      reply(to: connection, error: 0, with: channel)
    } catch {
      reply(to: connection, error: error.number)
    }
  }

  /// The thread is joined without the lock, since it may be waiting for it.
  private func end(_ session: Session, hasExited: Bool) {
    _ = host_epoll_remove(watch.number, session.processDescriptor.number)
    session.stopThread()
    core.lock.withLock { () -> Void in core.end(session, hasExited: hasExited) }
  }
}
