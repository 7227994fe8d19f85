/// One call of a client, as an observer sees it once it has been answered.
public struct CallRecord: Sendable {
  public enum Operation: String, Sendable {
    case open
    case status
    case readLink = "readlink"
    case ioctl
    case read
    case write
    case map = "mmap"
    case closed = "close"
    case replaced
    case installationFailed = "install-failed"
    case processStarted = "process-started"
    case processEnded = "process-ended"
  }

  public var process: Int32
  public var thread: Int32
  public var operation: Operation
  /// The path of the call, or the name of the file it was made on.
  public var name: String
  /// Of an ioctl.
  public var command: UInt32?
  /// The argument: an address in the client.
  public var address: UInt64
  /// For read and write: how many bytes; for map: the length.
  public var byteCount: UInt64
  /// The client's memory at `address` as far as it was forwarded, before and after the call.
  public var bytesBefore: [UInt8]
  public var bytesAfter: [UInt8]
  /// What the call returned, or a negated error number.
  public var result: Int64
  /// Completes "refused because ..."; nil when it was not refused.
  public var rule: StaticString?
  /// When the call began, on the host's monotonic clock, and how long it took.
  public var start: UInt64
  public var nanoseconds: UInt64

  public init(process: Int32, thread: Int32, operation: Operation, name: String, start: UInt64) {
    self.process = process
    self.thread = thread
    self.operation = operation
    self.name = name
    self.start = start
    command = nil
    address = 0
    byteCount = 0
    bytesBefore = []
    bytesAfter = []
    result = 0
    rule = nil
    nanoseconds = 0
  }
}

/// Sees every call in the order in which the machine served them.
public protocol CallObserver: AnyObject {
  func called(_ record: CallRecord)
}
