import CHost
import Clients

extension Core {
  /// Far more threads than can be waiting at a time.
  private static var unsettledLimit: Int { 1024 }

  /// Makes the descriptor for a file. Nil when the host has none left; the file is then untouched.
  func makeHostFile(
    _ file: any MachineFile, in realm: Realm, path: String, controlsFaults: Bool = false
  ) -> HostFile? {
    guard let ends = DescriptorEnds(file.readiness) else { return nil }
    let made = HostFile(
      file, in: realm, ends: ends, number: files.makeNumber(), path: path,
      controlsFaults: controlsFaults)
    return files.insert(made) ? made : nil
  }

  /// Promises a descriptor to the caller; it fetches it by the token.
  func promise(
    _ descriptor: Descriptor, of file: HostFile?, to session: Session, _ request: host_request
  ) -> UInt64 {
    let token = installations.insert(
      Installation(
        descriptor: descriptor, file: file, process: session.hostNumber(of: request.process),
        session: session.number))
    if session.unsettled.count >= Self.unsettledLimit {
      for thread in Array(session.unsettled.keys) { settle(thread, of: session) }
    }
    session.unsettled[request.thread] = token
    return token
  }

  /// The descriptor of a token, for the one process it was promised to. The caller closes it once
  /// sent.
  func claim(_ token: UInt64, by process: Int32) -> Descriptor? {
    guard let installation = installations[token], installation.process == process else {
      return nil
    }
    if installation.file == nil { return installations.remove(token)?.descriptor }
    return installations.takeDescriptor(token)
  }

  /// A thread that makes another call has what it was promised before, or will not have it.
  func settle(_ thread: Int32, of session: Session) {
    guard !session.unsettled.isEmpty, let token = session.unsettled[thread] else { return }
    // Promised and not fetched: a signal handler may be calling while the thread is about to.
    if installations[token]?.descriptor != nil { return }
    session.unsettled[thread] = nil
    installations.remove(token)?.file?.isSettled = true
  }

  func installationFailed(_ token: UInt64, in session: Session) {
    guard let installation = installations[token], installation.session == session.number else {
      return
    }
    _ = installations.remove(token)
    session.unsettled = session.unsettled.filter { $0.value != token }
    abandon(installation)
  }

  /// The client does not have the descriptor: what made the file is undone.
  func abandon(_ installation: Installation) {
    guard let file = installation.file, !file.isReleased else { return }
    files.remove(file)
    lingering.removeAll { $0 === file }
    file.file.installationFailed()
    file.release()
  }

  /// Releases each file whose last descriptor has closed, unless it lingers.
  func releaseEndedFiles() {
    for file in files.takeEnded() { end(file) }
  }

  /// Looks at one file: the call that closed a descriptor of it has returned.
  func releaseIfEnded(_ file: HostFile) {
    file.isSettled = true
    guard file.ends.hasEnded else { return }
    files.remove(file)
    end(file)
  }

  /// Looks again at what could not be released. `patiently` false gives up waiting for clients to
  /// settle.
  func releaseLingeringFiles(patiently: Bool) {
    guard !lingering.isEmpty else { return }
    let waiting = lingering
    lingering = []
    for file in waiting {
      if !patiently { file.isSettled = true }
      end(file)
    }
  }

  private func end(_ file: HostFile) {
    guard file.isSettled, !file.isMapped else {
      lingering.append(file)
      lingeringChanged()
      return
    }
    file.release()
  }
}
