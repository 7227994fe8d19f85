/// What `fstat` shows of a file.
public struct FileStatus: Equatable, Sendable {
  /// Type and permissions, as in st_mode.
  public var mode: UInt32
  /// Device number of a special file: major and minor.
  public var special: (major: UInt32, minor: UInt32)
  public var byteCount: UInt64

  public init(mode: UInt32, special: (major: UInt32, minor: UInt32) = (0, 0), byteCount: UInt64 = 0)
  {
    self.mode = mode
    self.special = special
    self.byteCount = byteCount
  }

  public static func == (left: Self, right: Self) -> Bool {
    left.mode == right.mode && left.special == right.special && left.byteCount == right.byteCount
  }
}

/// How a descriptor for a file behaves under poll.
public enum Readiness: Sendable {
  /// Always readable and writable, as a file without a poll method.
  case always
  /// Readable when the file says so, always writable: a fault queue.
  case queueBothWays
  /// Readable when the file says so, never writable: an event queue.
  case queueOut
}

/// Pages of the host that a client may map: a file of their own.
public protocol SharedPages: AnyObject {
  var byteCount: Int { get }
  /// Whether any client has them mapped now.
  var isMapped: Bool { get }
  /// The bytes, on the host's side.
  var bytes: UnsafeMutableRawBufferPointer { get }
}

/// Makes the pages that clients map; the server has the descriptors for it.
public protocol SharedPagesProvider: AnyObject {
  func makeSharedPages(byteCount: Int) -> (any SharedPages)?
}

/// A file that the machine serves. Calls come one at a time.
public protocol MachineFile: AnyObject {
  /// A short name for traces: `/dev/iommu`, `[iommufd-pgfault]`.
  var name: String { get }
  var status: FileStatus { get }
  var readiness: Readiness { get }
  /// Called by the file whenever it becomes readable (true) or no longer is (false).
  var readabilityChanged: ((Bool) -> Void)? { get set }

  func ioctl(
    _ command: UInt32, _ argument: UInt64, caller: any Caller
  ) throws(Refusal) -> Int64

  /// `offset` is nil for read, the position for pread.
  func read(
    _ address: UInt64, count: UInt64, offset: UInt64?, caller: any Caller
  ) throws(Refusal) -> Int64
  func write(
    _ address: UInt64, count: UInt64, offset: UInt64?, caller: any Caller
  ) throws(Refusal) -> Int64

  /// The pages a mapping of the file shows, which are then mapped from their beginning.
  func map(
    byteCount: UInt64, protection: Int32, flags: Int32, offset: UInt64, caller: any Caller
  ) throws(Refusal) -> any SharedPages

  /// The descriptor could not be installed in the client: undo what made the file. `release`
  /// follows.
  func installationFailed()
  /// The last descriptor is closed.
  func release()
}

extension MachineFile {
  public var readiness: Readiness { .always }
  public var readabilityChanged: ((Bool) -> Void)? {
    get { nil }
    set { _ = newValue }
  }
  public func ioctl(
    _ command: UInt32, _ argument: UInt64, caller: any Caller
  ) throws(Refusal) -> Int64 {
    throw Refusal(.ENOTTY, because: "the file has no ioctl")
  }
  public func read(
    _ address: UInt64, count: UInt64, offset: UInt64?, caller: any Caller
  ) throws(Refusal) -> Int64 {
    throw Refusal(.EINVAL, because: "the file cannot be read")
  }
  public func write(
    _ address: UInt64, count: UInt64, offset: UInt64?, caller: any Caller
  ) throws(Refusal) -> Int64 {
    throw Refusal(.EINVAL, because: "the file cannot be written")
  }
  public func map(
    byteCount: UInt64, protection: Int32, flags: Int32, offset: UInt64, caller: any Caller
  ) throws(Refusal) -> any SharedPages {
    throw Refusal(.ENODEV, because: "the file cannot be mapped")
  }
  public func installationFailed() {}
}
