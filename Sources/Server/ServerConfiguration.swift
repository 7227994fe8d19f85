public import Clients

/// What a server is asked to be.
public struct ServerConfiguration {
  public enum MemoryAccess: String, Sendable, CaseIterable {
    /// Through /proc where the host may, else by a thread of the client.
    case automatic = "auto"
    case helper
  }
  public enum DescriptorAccess: String, Sendable, CaseIterable {
    /// Taken from the client where the host may, else sent by it.
    case automatic = "auto"
    case provided = "provide"
  }
  public enum LockedMemory: String, Sendable, CaseIterable {
    case unlimited
    /// The client's own RLIMIT_MEMLOCK counts.
    case client
  }

  /// Where to listen; nil for a path of the server's own, in a fresh directory.
  public var socketPath: String?
  public var memory = MemoryAccess.automatic
  public var descriptors = DescriptorAccess.automatic
  public var lockedMemory = LockedMemory.unlimited
  /// Each client process gets a machine of its own for what it opens.
  public var hasPrivateMachines = false
  /// Arms the fault injection of the first thread that makes a call: its n-th step fails.
  public var failNth: UInt32?
  public var observer: (any CallObserver)?

  public init() {}
}

/// Why a server could not start.
public struct ServerError: Error, CustomStringConvertible {
  public let description: String
  init(_ description: String) { self.description = description }
}
