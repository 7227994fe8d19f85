import CChannel
import CHost
import Clients
import Glibc
import Hardware

extension Core {
  /// Serves the request in a slot, if there is one.
  func serve(_ slot: UInt32, of session: Session) {
    guard let request = session.channel.request(in: slot) else { return }
    let answer = lock.withLock { () -> host_answer in
      self.answer(request, in: slot, of: session)
    }
    session.channel.answer(answer, in: slot)
  }

  private func answer(_ request: host_request, in slot: UInt32, of session: Session) -> host_answer
  {
    let pages = unsafe session.channel.window(of: slot)
    // What ended before this call was made has ended for it: closed files, unmapped pages.
    releaseEndedFiles()
    releaseLingeringFiles(patiently: true)
    let operation = viaduct_operation(request.operation)
    if operation != VIADUCT_INSTALL_FAILED { settle(request.thread, of: session) }

    let observation = beginObservation(request, of: session)
    var answer: Answer
    switch operation {
    case VIADUCT_OPEN, VIADUCT_STAT, VIADUCT_READLINK:
      window.clear()
      if let path = unsafe window.loadText(from: pages) {
        answer = servePath(operation, path, request, session).named(path)
      } else {
        answer = Answer(result: -Int64(ENAMETOOLONG))
      }
    case VIADUCT_IDENTIFY, VIADUCT_FSTAT, VIADUCT_IOCTL, VIADUCT_READ, VIADUCT_WRITE, VIADUCT_MMAP,
      VIADUCT_CLOSED:
      unsafe window.load(request, from: pages)
      observation?.windowBefore = window.contents
      let key = FileKey(device: request.file_device, inode: request.file_inode)
      if let file = files[key] {
        answer = serveFile(operation, file, request, session).named(file.path)
      } else {
        answer = .pass
      }
      if answer.raw.action & VIADUCT_PROVIDE.rawValue == 0 {
        session.provided[request.thread] = nil
        unsafe window.store(into: pages, &answer.raw)
      }
    case VIADUCT_REPLACED:
      replaced(request.argument0, byteCount: request.argument1, in: session)
      answer = Answer(result: 0)
    case VIADUCT_INSTALL_FAILED:
      installationFailed(request.argument0, in: session)
      answer = Answer(result: 0)
    default:
      answer = Answer(result: -Int64(ENOSYS))
    }
    unsafe answer.bytes.withUnsafeBytes { bytes in
      if let base = bytes.baseAddress {
        unsafe memcpy(pages, base, min(bytes.count, CallWindow.capacity))
      }
    }
    for session in sessions.values { session.publishPinnedMemory() }
    if let observation { endObservation(observation, request, answer) }
    return answer.raw
  }

  private func replaced(_ address: UInt64, byteCount: UInt64, in session: Session) {
    let (end, overflow) = address.addingReportingOverflow(byteCount)
    guard !overflow, byteCount > 0, end <= 1 << Replacements.generationShift else { return }
    let mask = pageBytes - 1
    session.space.replace(
      address & ~mask..<(end + mask) & ~mask,
      pinnedIn: session.processes.map(\.process.privateMemory))
  }
}
