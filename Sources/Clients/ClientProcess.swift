public import Hardware

/// What the kernel checks before it lets a process do something.
public enum Capability: UInt8, Sendable {
  case lockMemory = 14  // CAP_IPC_LOCK
  case rawIO = 17  // CAP_SYS_RAWIO
  case administerResources = 24  // CAP_SYS_RESOURCE
}

/// A stretch of a source that stands behind a stretch of a process's addresses.
public struct SourceExtent {
  public var source: MemorySource
  /// Byte offset in the source.
  public var offset: UInt64
  public var byteCount: UInt64

  public init(source: MemorySource, offset: UInt64, byteCount: UInt64) {
    self.source = source
    self.offset = offset
    self.byteCount = byteCount
  }
}

/// A process that uses the machine: an address space with an owner.
///
/// One object stands for one address space, from the process's first call until it executes another
/// program or ends; threads and vfork children share it, a forked child has its own.
public protocol ClientProcess: AnyObject {
  /// False once the address space is gone: nothing can be read, written or pinned any more.
  var isAlive: Bool { get }
  /// The user the process's locked memory counts for.
  var userID: UInt32 { get }
  func has(_ capability: Capability) -> Bool
  /// RLIMIT_MEMLOCK in pages, or nil where the machine does not enforce it.
  var lockedMemoryLimit: UInt64? { get }

  /// Pages pinned on this process's account (VmPin) and counted as locked (VmLck).
  var pinnedPages: Int { get set }
  var lockedPages: Int { get set }

  func read(at address: UInt64, into bytes: UnsafeMutableRawBufferPointer) throws(MemoryFault)
  func write(at address: UInt64, from bytes: UnsafeRawBufferPointer) throws(MemoryFault)

  /// Finds what stands behind page-aligned addresses, in order. Fails where nothing is mapped or,
  /// when `writable`, where it may not be written; what was reported before then is void.
  func resolve(
    _ address: UInt64, byteCount: UInt64, writable: Bool, _ report: (SourceExtent) -> Void
  ) throws(MemoryFault)
}

/// A regular file that a client passed by descriptor number.
public struct PassedFile {
  /// Its bytes; nil when it is not memory (neither memfd, tmpfs nor hugetlbfs) and cannot be
  /// pinned.
  public var memory: MemorySource?
  /// Keeps the file open on the host's side; `byteCount` reads its present size.
  public var handle: any FileHandle

  public init(memory: MemorySource?, handle: any FileHandle) {
    self.memory = memory
    self.handle = handle
  }
}

/// An open file of a client, held by the host. It closes with the last reference.
public protocol FileHandle: AnyObject {
  var byteCount: UInt64 { get }
}

/// What a descriptor number of the caller stands for.
public enum PassedDescriptor {
  /// One of the machine's own files.
  case machine(any MachineFile)
  case foreign(PassedFile)
}
