import CHost
import Clients
import Glibc

/// Everything the server keeps. Used under the lock only, except for the lock itself.
final class Core {
  /// How many descriptors a client may be promised without fetching them.
  private static let promiseLimit = 256

  let lock = MachineLock()
  let configuration: ServerConfiguration
  let clients = ClientDirectory()
  let files: FileTable
  let tree: ServedTree
  let window = CallWindow()
  let prefixes: [String]
  var sessions: [UInt64: Session] = [:]
  var installations = InstallationTable()
  /// Files without descriptors that cannot be released yet: still mapped, or not settled.
  var lingering: [HostFile] = []
  /// Set while a file lingers, for the main loop to look again.
  var lingeringChanged: () -> Void = {}
  var failNth: UInt32?

  private let mainRealm: Realm
  private let makeMachine: () -> any ServedMachine
  private var privateRealms: [Int32: Realm] = [:]
  private var nextSession: UInt64 = 1

  init(
    _ configuration: ServerConfiguration, directory: String,
    makeMachine make: @escaping (any SharedPagesProvider) -> any ServedMachine
  ) throws(SystemError) {
    self.configuration = configuration
    failNth = configuration.failNth
    files = try FileTable()
    let provider = HostPagesProvider(clients: clients)
    makeMachine = { make(provider) }
    mainRealm = Realm(machine: makeMachine(), clients: clients)
    prefixes = mainRealm.machine.prefixes + ProcPath.prefixes
    tree = ServedTree(below: directory)
    try tree.write(mainRealm.machine.tree)
  }

  var machine: any ServedMachine { mainRealm.machine }

  func session(ofProcess process: Int32) -> Session? {
    sessions.values.first { $0.identity.process == process }
  }

  func makeSessionNumber() -> UInt64 {
    defer { nextSession += 1 }
    return nextSession
  }

  /// The machine for what a process opens. A program that the process executes later keeps it.
  func realm(for process: Int32) -> Realm {
    guard configuration.hasPrivateMachines else { return mainRealm }
    if let present = privateRealms[process] { return present }
    let made = Realm(machine: makeMachine(), clients: clients)
    privateRealms[process] = made
    return made
  }

  func insert(_ session: Session) {
    sessions[session.number] = session
    clients.members.append((session.identity.process, session.space))
  }

  /// Forgets a client whose thread has ended. `hasExited` is false when another program took its
  /// place.
  func end(_ session: Session, hasExited: Bool) {
    guard sessions.removeValue(forKey: session.number) != nil else { return }
    session.space.end()
    session.channel.close()
    clients.members.removeAll { $0.space === session.space }
    session.provided = [:]
    for installation in installations.removeAll(of: session.number) {
      installation.file?.isSettled = true
      if installation.descriptor != nil { abandon(installation) }
    }
    for (realm, process) in session.processes { realm.machine.processEnded(process) }
    if hasExited { privateRealms[session.identity.process] = nil }
    releaseEndedFiles()
    releaseLingeringFiles(patiently: true)
    observeProcess(session, .processEnded)
  }

  func hasRoomForPromise(to session: Session) -> Bool {
    installations.unclaimedCount(of: session.number) < Self.promiseLimit
  }
}
