import CChannel
import CHost
import Clients
import Glibc

extension Core {
  /// A call on one of the machine's files.
  func serveFile(
    _ operation: viaduct_operation, _ file: HostFile, _ request: host_request, _ session: Session
  ) -> Answer {
    switch operation {
    case VIADUCT_IDENTIFY: return Answer(result: Int64(file.ends.kind.rawValue))
    case VIADUCT_CLOSED:
      releaseIfEnded(file)
      return Answer(result: 0)
    case VIADUCT_FSTAT:
      var answer = Answer(result: 0)
      answer.bytes = statusBytes(file.file.status, name: file.path, session.identity)
      return answer
    case VIADUCT_MMAP: return map(file, request, session)
    default: break
    }

    let caller = ServedCaller(request, session: session, realm: file.realm, core: self)
    let position = request.argument2 == .max ? nil : request.argument2
    let (address, count) = (request.argument0, request.argument1)
    let answer = perform(on: file, request, session, caller) { () throws(Refusal) in
      switch operation {
      case VIADUCT_IOCTL:
        try file.file.ioctl(
          UInt32(truncatingIfNeeded: request.argument0), request.argument1, caller: caller)
      case VIADUCT_READ:
        try file.file.read(address, count: count, offset: position, caller: caller)
      default:
        try file.file.write(address, count: count, offset: position, caller: caller)
      }
    }
    guard let promised = caller.promised, answer.raw.result >= 0, caller.wantedDescriptor == nil
    else { return answer }
    return install(promised, made: answer, in: file.realm, request, session)
  }

  private func perform(
    on file: HostFile, _ request: host_request, _ session: Session, _ caller: ServedCaller,
    _ body: () throws(Refusal) -> Int64
  ) -> Answer {
    let machine = file.realm.machine
    let process = caller.process
    armFirst(machine, process, request.thread)
    if !file.controlsFaults { machine.beginCall(of: process, thread: request.thread) }
    defer { if !file.controlsFaults { machine.endCall(of: process, thread: request.thread) } }
    var answer: Answer
    do throws(Refusal) {
      answer = Answer(result: try body())
    } catch {
      answer = Answer(error)
    }
    if let wanted = caller.wantedDescriptor {
      let process = session.hostNumber(of: request.process)
      let isAsked = session.provided[
        request.thread, default: ProvidedDescriptors(from: process)
      ].expect(wanted)
      answer =
        isAsked
        ? Answer(provide: wanted)
        : Answer(Refusal(.EBADF, because: "the call names too many descriptors"))
    }
    return answer
  }

  private func install(
    _ promised: ServedCaller.PromisedFile, made answer: Answer, in realm: Realm,
    _ request: host_request, _ session: Session
  ) -> Answer {
    let file = promised.file
    guard hasRoomForPromise(to: session),
      let host = makeHostFile(file, in: realm, path: file.name),
      let end = host.ends.takeClientEnd()
    else {
      file.installationFailed()
      file.release()
      return Answer(Refusal(.EMFILE, because: "the host has no room for another descriptor"))
    }
    var installed = Answer(
      token: promise(end, of: host, to: session, request), closeOnExec: promised.closeOnExec)
    installed.raw.result = answer.raw.result
    installed.raw.value2 = promised.address ?? 0
    return installed
  }

  private func map(_ file: HostFile, _ request: host_request, _ session: Session) -> Answer {
    let caller = ServedCaller(request, session: session, realm: file.realm, core: self)
    var mapped: HostPages?
    let answer = perform(on: file, request, session, caller) { () throws(Refusal) in
      let pages = try file.file.map(
        byteCount: request.argument0,
        protection: Int32(truncatingIfNeeded: request.argument1),
        flags: Int32(truncatingIfNeeded: request.argument2), offset: request.argument3,
        caller: caller)
      guard let pages = pages as? HostPages else {
        throw Refusal(.ENODEV, because: "the pages are not the server's")
      }
      mapped = pages
      return 0
    }
    guard answer.raw.result == 0, let pages = mapped, caller.wantedDescriptor == nil else {
      return answer
    }
    guard hasRoomForPromise(to: session), let opening = pages.open() else {
      return Answer(Refusal(.ENOMEM, because: "the host has no room for another descriptor"))
    }
    if !file.pages.contains(where: { $0 === pages }) { file.pages.append(pages) }
    return Answer(token: promise(opening, of: nil, to: session, request), closeOnExec: true)
  }
}

/// A file's status as the channel carries it. Whoever asks appears as the owner, as no other user
/// can reach the machine.
func statusBytes(_ status: FileStatus, name: String, _ owner: ProcessIdentity) -> [UInt8] {
  var shown = viaduct_status()
  shown.special = deviceNumber(major: status.special.major, minor: status.special.minor)
  shown.device = deviceNumber(major: 0, minor: 5)
  // An inode number that is the same each time, and so for stat and fstat.
  shown.inode =
    shown.special != 0
    ? shown.special
    : name.utf8.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 } >> 16
  shown.mode = status.mode
  shown.links = 1
  shown.user = owner.user
  shown.group = owner.group
  shown.size = status.byteCount
  return unsafe withUnsafeBytes(of: shown) { unsafe Array($0) }
}
