public import Clients
public import Hardware
internal import IOMMUCore
internal import IOMMUFD
internal import Mock
internal import MockCommands

/// One virtual computer: its IOMMUs, and the files by which clients use them.
///
/// A synchronous value without threads, clocks or chance: calls come one at a time, and the same
/// calls have the same answers.
public final class Machine: ServedMachine {
  private let environment: Environment
  private let failures = FailurePlan()
  /// Armed fault injections by process and thread.
  private var failNth: [ThreadKey: UInt32] = [:]
  private let injection = InjectionAttributes()
  public let physicalMemory: PhysicalMemory
  private let unit: MockUnit

  struct ThreadKey: Hashable {
    var process: ObjectIdentifier
    var thread: Int32
  }

  public init(_ description: MachineDescription = .mock, sharedPages: any SharedPagesProvider) {
    physicalMemory = PhysicalMemory()
    unit = MockUnit(failures: failures)
    let commands = CommandTable()
    // Without its commands nothing reaches the mock unit.
    if description.units.contains(.mock) { commands.add(TestCommand.self) }
    environment = Environment(
      failures: failures, physicalMemory: physicalMemory, sharedPages: sharedPages,
      commands: commands, services: [unit])
  }

  public var prefixes: [String] {
    [
      IOMMUFDFile.Node.iommu.path, "/dev/vfio", "/dev/vfio/",
      "/sys/kernel/debug", "/sys/kernel/debug/",
    ]
  }

  public var tree: [TreeEntry] {
    [
      TreeEntry(path: "/dev/vfio", kind: .directory),
      TreeEntry(path: "/sys/kernel/debug", kind: .directory),
    ] + injection.entries
  }

  public func open(
    _ path: String, caller: any Caller
  ) throws(Refusal) -> (any MachineFile)? {
    switch path {
    case IOMMUFDFile.Node.iommu.path: try IOMMUFDFile(.iommu, in: environment)
    case IOMMUFDFile.Node.vfioContainer.path: try IOMMUFDFile(.vfioContainer, in: environment)
    default: injection.file(at: path)
    }
  }

  public func status(of path: String) -> FileStatus? {
    switch path {
    case IOMMUFDFile.Node.iommu.path: IOMMUFDFile.Node.iommu.status
    case IOMMUFDFile.Node.vfioContainer.path: IOMMUFDFile.Node.vfioContainer.status
    default: injection.file(at: path)?.status
    }
  }

  public func failNthFile(of process: any ClientProcess, thread: Int32) -> any MachineFile {
    FailNthFile(machine: self, key: ThreadKey(process: ObjectIdentifier(process), thread: thread))
  }

  public func beginCall(of process: any ClientProcess, thread: Int32) {
    guard !failNth.isEmpty else {
      failures.remaining = 0
      return
    }
    failures.remaining =
      failNth[ThreadKey(process: ObjectIdentifier(process), thread: thread)] ?? 0
  }

  public func endCall(of process: any ClientProcess, thread: Int32) {
    guard !failNth.isEmpty else { return }
    let key = ThreadKey(process: ObjectIdentifier(process), thread: thread)
    if failNth[key] != nil { failNth[key] = failures.remaining }
    failures.remaining = 0
  }

  public func processEnded(_ process: any ClientProcess) {
    let identity = ObjectIdentifier(process)
    failNth = failNth.filter { $0.key.process != identity }
  }

  public var census: [(name: String, count: Int)] {
    [
      ("contexts", environment.liveContexts), ("objects", environment.liveObjects),
      ("areas", environment.liveAreas), ("pages", environment.livePages),
      ("devices", unit.deviceCount), ("pinned chunks", physicalMemory.chunkCount),
    ]
  }

  /// Fallible steps left until the one that fails; 0 when unarmed or done.
  func failNth(of key: ThreadKey) -> UInt32 { failNth[key] ?? 0 }

  func setFailNth(of key: ThreadKey, to count: UInt32) {
    // The file's own call must not be the one that fails, nor end the arming.
    failures.remaining = count
    failNth[key] = count
  }
}
