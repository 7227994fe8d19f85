public import Hardware

/// A directory, plain file or symbolic link that the machine shows to its clients without watching
/// what they do with it. The server keeps these on disk.
public struct TreeEntry: Equatable, Sendable {
  public enum Kind: Equatable, Sendable {
    case directory
    case file(contents: String)
    case link(target: String)
  }
  /// Absolute, as clients name it.
  public var path: String
  public var kind: Kind

  public init(path: String, kind: Kind) {
    self.path = path
    self.kind = kind
  }
}

/// What the server asks of a machine. All calls come from one thread at a time.
public protocol ServedMachine: AnyObject {
  var physicalMemory: PhysicalMemory { get }

  /// Paths that belong to the machine, in the channel's notation: `*` is one component, a trailing
  /// `/` everything below.
  var prefixes: [String] { get }
  var tree: [TreeEntry] { get }

  /// A file whose calls the machine serves itself, such as `/dev/iommu`, or nil when there is none
  /// at this path. What is not in `tree` either does not exist.
  func open(_ path: String, caller: any Caller) throws(Refusal) -> (any MachineFile)?
  /// What `stat` shows of such a file without opening it.
  func status(of path: String) -> FileStatus?

  /// Linux's fail-nth of one thread: the file that shows and sets it.
  func failNthFile(of process: any ClientProcess, thread: Int32) -> any MachineFile

  /// Brackets each call: arms the fault injection of the calling thread, and takes it back.
  func beginCall(of process: any ClientProcess, thread: Int32)
  func endCall(of process: any ClientProcess, thread: Int32)

  /// Counts of what is alive, for leak checks: contexts, objects, areas, pinned chunks.
  var census: [(name: String, count: Int)] { get }
  /// A process has gone; its descriptors are released separately.
  func processEnded(_ process: any ClientProcess)
}
