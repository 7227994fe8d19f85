import CChannel
import CHost
import Clients
import Glibc

extension Core {
  /// open, stat or readlink of a path that matched one of the prefixes.
  func servePath(
    _ operation: viaduct_operation, _ path: String, _ request: host_request, _ session: Session
  ) -> Answer {
    guard path.hasPrefix("/") else { return .pass }
    if let proc = ProcPath(path) { return serve(operation, proc, path, request, session) }
    guard prefixes.contains(where: { matches($0, path) }) else { return .pass }
    switch operation {
    case VIADUCT_OPEN: return open(path, request, session)
    case VIADUCT_STAT:
      let machine = session.realm.machine
      if let status = machine.status(of: path) ?? resolved(path).flatMap(machine.status(of:)) {
        var answer = Answer(result: 0)
        answer.bytes = statusBytes(status, name: path, session.identity)
        return answer
      }
    default:
      if session.realm.machine.status(of: path) != nil {
        return Answer(Refusal(.EINVAL, because: "the file is not a link"))
      }
    }
    return redirectOrRefuse(path)
  }

  private func open(_ path: String, _ request: host_request, _ session: Session) -> Answer {
    let realm = session.realm
    let flags = Int32(truncatingIfNeeded: request.argument0)
    let caller = ServedCaller(request, session: session, realm: realm, core: self)
    let process = caller.process
    armFirst(realm.machine, process, request.thread)
    realm.machine.beginCall(of: process, thread: request.thread)
    defer { realm.machine.endCall(of: process, thread: request.thread) }
    do throws(Refusal) {
      var opened = try realm.machine.open(path, caller: caller)
      if opened == nil, let other = resolved(path) {
        opened = try realm.machine.open(other, caller: caller)
      }
      guard let file = opened else { return redirectOrRefuse(path) }
      return hand(out: file, path: path, flags: flags, in: realm, request, session)
    } catch {
      return Answer(error)
    }
  }

  /// The path by which the machine knows a file that was reached over links in the tree.
  private func resolved(_ path: String) -> String? {
    guard let other = tree.realPath(ofParentOf: path), other != path else { return nil }
    return other
  }

  private func redirectOrRefuse(_ path: String) -> Answer {
    guard tree.contains(path) else {
      return Answer(Refusal(.ENOENT, because: "the machine has nothing at this path"))
    }
    return Answer(redirect: tree.root + path)
  }

  private func hand(
    out file: any MachineFile, path: String, flags: Int32, in realm: Realm,
    controlsFaults: Bool = false, _ request: host_request, _ session: Session
  ) -> Answer {
    let refusal: Refusal? =
      if flags & O_DIRECTORY != 0 {
        Refusal(.ENOTDIR, because: "the file is not a directory")
      } else if flags & (O_CREAT | O_EXCL) == O_CREAT | O_EXCL {
        Refusal(.EEXIST, because: "the file exists")
      } else {
        nil
      }
    guard refusal == nil, hasRoomForPromise(to: session),
      let host = makeHostFile(file, in: realm, path: path, controlsFaults: controlsFaults),
      let end = host.ends.takeClientEnd()
    else {
      file.installationFailed()
      file.release()
      return Answer(
        refusal ?? Refusal(.EMFILE, because: "the host has no room for another descriptor"))
    }
    return Answer(
      token: promise(end, of: host, to: session, request), closeOnExec: flags & O_CLOEXEC != 0)
  }

  // MARK: - /proc

  private func serve(
    _ operation: viaduct_operation, _ path: ProcPath, _ name: String, _ request: host_request,
    _ session: Session
  ) -> Answer {
    guard let (owner, thread) = subject(of: path, request, session) else { return .pass }
    switch path.leaf {
    case .status: return operation == VIADUCT_OPEN ? openStatus(of: owner, request, session) : .pass
    case .failNth:
      let realm = owner.realm
      let file = realm.machine.failNthFile(of: owner.process(in: realm), thread: thread)
      switch operation {
      case VIADUCT_OPEN:
        return hand(
          out: file, path: name, flags: Int32(truncatingIfNeeded: request.argument0), in: realm,
          controlsFaults: true, request, session)
      case VIADUCT_STAT:
        var answer = Answer(result: 0)
        answer.bytes = statusBytes(file.status, name: name, session.identity)
        file.release()
        return answer
      default:
        file.release()
        return Answer(Refusal(.EINVAL, because: "the file is not a link"))
      }
    }
  }

  /// The client and the thread, in its own numbering, that a path is about; nil when it is not a
  /// client.
  private func subject(
    of path: ProcPath, _ request: host_request, _ session: Session
  ) -> (owner: Session, thread: Int32)? {
    let owner: Session
    var thread: Int32
    switch path.subject {
    case .callingProcess: (owner, thread) = (session, session.nameInClient)
    case .callingThread: return (session, request.thread)
    case .process(let number):
      guard let found = client(with: number, beside: session) else { return nil }
      (owner, thread) = (found, number)
    }
    if let task = path.thread {
      thread = task
      guard has(owner, thread: thread) else { return nil }
    }
    return (owner, thread)
  }

  /// A client by the number of its process or of one of its threads.
  private func client(with number: Int32, beside session: Session) -> Session? {
    if number == session.nameInClient { return session }
    return sessions.values.first { $0.nameInClient == number }
      ?? sessions.values.first { has($0, thread: number) }
  }

  private func has(_ session: Session, thread: Int32) -> Bool {
    let process = session.identity.process
    // The numbers of another name space mean nothing here.
    guard session.nameInClient == process else { return true }
    return unsafe access("/proc/\(process)/task/\(thread)", F_OK) == 0
  }

  private func openStatus(
    of owner: Session, _ request: host_request, _ session: Session
  ) -> Answer {
    let processes = owner.processes.map(\.process)
    let pinned = processes.reduce(0) { $0 + $1.pinnedPages }
    let locked = processes.reduce(0) { $0 + $1.lockedPages }
    guard pinned != 0 || locked != 0, hasRoomForPromise(to: session),
      let text = statusText(
        of: "/proc/\(owner.identity.process)/status", pinnedPages: pinned, lockedPages: locked),
      let file = makeTextFile(text)
    else { return .pass }
    let closeOnExec = Int32(truncatingIfNeeded: request.argument0) & O_CLOEXEC != 0
    return Answer(token: promise(file, of: nil, to: session, request), closeOnExec: closeOnExec)
  }
}

/// Whether a path is covered by a prefix in the channel's notation.
func matches(_ prefix: String, _ path: String) -> Bool {
  var wanted = prefix.utf8[...]
  var given = path.utf8[...]
  let slash = UInt8(ascii: "/")
  while let letter = wanted.popFirst() {
    if letter == UInt8(ascii: "*") {
      guard let first = given.first, first != slash else { return false }
      given = given.drop { $0 != slash }
    } else if letter == slash, wanted.isEmpty {
      return given.isEmpty || given.first == slash
    } else if given.popFirst() != letter {
      return false
    }
  }
  return given.isEmpty
}
