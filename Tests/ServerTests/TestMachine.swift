import Clients
import Glibc
import Hardware

/// A machine with one device, `/dev/echo`, whose ioctls exercise what the server offers a machine.
final class TestMachine: ServedMachine {
  enum Command: UInt32 {
    case nothing
    /// Sixteen bytes at the argument come back reversed behind them.
    case reverse
    /// Makes a queue and stores its descriptor at the argument; the second one is for reading only.
    case makeQueue
    case makeReadOnlyQueue
    case setReadable
    case clearReadable
    /// The argument leads to an address and a length.
    case pin
    /// All that is pinned, or with the argument 1 only what was pinned first.
    case unpin
    /// Adds one to the first pinned byte, as a device does.
    case touch
    /// The argument is a descriptor: 1 ours, 2 memory, 3 another file.
    case identify
    /// Writes one byte at the 64-bit pointer at the argument.
    case poke
  }

  let physicalMemory = PhysicalMemory()
  /// What happened to files.
  var released = 0
  var undone = 0
  let sharedPages: any SharedPagesProvider
  var pinned: [(source: MemorySource, first: UInt64, count: UInt64)] = []
  var pinnedAddress: PhysicalAddress?
  var queue: QueueFile?
  var endedProcesses = 0
  var openFiles = 0

  init(sharedPages: any SharedPagesProvider) { self.sharedPages = sharedPages }

  var prefixes: [String] { ["/dev/echo", "/sys/echo", "/sys/echo/"] }
  var tree: [TreeEntry] {
    [
      TreeEntry(path: "/sys/echo/device", kind: .directory),
      TreeEntry(path: "/sys/echo/device/name", kind: .file(contents: "echo\n")),
      TreeEntry(path: "/sys/echo/link", kind: .link(target: "/sys/echo/device")),
    ]
  }
  var census: [(name: String, count: Int)] {
    [
      ("open files", openFiles), ("released", released), ("undone", undone),
      ("ended", endedProcesses), ("pinned at", Int(pinnedAddress?.rawValue ?? 0)),
    ]
  }

  func open(_ path: String, caller: any Caller) throws(Refusal) -> (any MachineFile)? {
    guard path == "/dev/echo" || path == "/sys/echo/device/control" else { return nil }
    openFiles += 1
    return EchoFile(self)
  }
  func status(of path: String) -> FileStatus? {
    path == "/dev/echo" ? FileStatus(mode: S_IFCHR | 0o666, special: (10, 126)) : nil
  }
  func failNthFile(of process: any ClientProcess, thread: Int32) -> any MachineFile {
    openFiles += 1
    return EchoFile(self)
  }
  func beginCall(of process: any ClientProcess, thread: Int32) {}
  func endCall(of process: any ClientProcess, thread: Int32) {}
  func processEnded(_ process: any ClientProcess) { endedProcesses += 1 }
}

final class QueueFile: MachineFile {
  let name = "[queue]"
  let status = FileStatus(mode: 0o600)
  let readiness: Readiness
  var readabilityChanged: ((Bool) -> Void)?
  private let machine: TestMachine

  init(_ machine: TestMachine, _ readiness: Readiness) {
    self.machine = machine
    self.readiness = readiness
    machine.openFiles += 1
  }

  func installationFailed() { machine.undone += 1 }
  func release() {
    machine.released += 1
    machine.openFiles -= 1
  }
}

final class EchoFile: MachineFile {
  let name = "/dev/echo"
  let status = FileStatus(mode: S_IFCHR | 0o666, special: (10, 126))
  private let machine: TestMachine
  private var pages: (any SharedPages)?

  init(_ machine: TestMachine) { self.machine = machine }

  func installationFailed() { machine.undone += 1 }
  func release() {
    machine.released += 1
    machine.openFiles -= 1
  }

  func map(
    byteCount: UInt64, protection: Int32, flags: Int32, offset: UInt64, caller: any Caller
  ) throws(Refusal) -> any SharedPages {
    if pages == nil { pages = machine.sharedPages.makeSharedPages(byteCount: Int(byteCount)) }
    guard let pages else { throw Refusal(.ENOMEM, because: "there are no pages") }
    return pages
  }

  func ioctl(
    _ command: UInt32, _ argument: UInt64, caller: any Caller
  ) throws(Refusal) -> Int64 {
    switch TestMachine.Command(rawValue: command) {
    case nil: throw Refusal(.ENOTTY, because: "the command does not exist")
    case .nothing: return 42
    case .reverse:
      let low = try caller.load(UInt64.self, at: argument, zero: 0)
      let high = try caller.load(UInt64.self, at: argument + 8, zero: 0)
      try caller.store(high.byteSwapped, at: argument + 16)
      try caller.store(low.byteSwapped, at: argument + 24)
    case .makeQueue, .makeReadOnlyQueue:
      let readiness: Readiness = command == 2 ? .queueBothWays : .queueOut
      let queue = QueueFile(machine, readiness)
      try caller.install(queue, closeOnExec: true, numberAt: argument)
      machine.queue = queue
    case .setReadable: machine.queue?.readabilityChanged?(true)
    case .clearReadable: machine.queue?.readabilityChanged?(false)
    case .pin: try pin(argument, caller)
    case .unpin:
      let ranges = argument == 1 ? machine.pinned.prefix(1) : machine.pinned[...]
      for range in ranges { range.source.unpin(firstPage: range.first, pageCount: range.count) }
      machine.pinned.removeFirst(ranges.count)
    case .touch: try touch()
    case .identify: return try identify(Int32(truncatingIfNeeded: argument), caller)
    case .poke:
      try caller.store(
        UInt8(0x5a), at: try caller.load(UInt64.self, at: argument, zero: 0))
    }
    return 0
  }

  private func pin(_ argument: UInt64, _ caller: any Caller) throws(Refusal) {
    let address = try caller.load(UInt64.self, at: argument, zero: 0)
    let byteCount = try caller.load(UInt64.self, at: argument + 8, zero: 0)
    var extents: [SourceExtent] = []
    do throws(MemoryFault) {
      try caller.process.resolve(address, byteCount: byteCount, writable: true) {
        extents.append($0)
      }
    } catch {
      throw Refusal(.EFAULT, because: "the memory is not there")
    }
    machine.pinnedAddress = nil
    for extent in extents {
      let (first, count) = (extent.offset >> pageShift, extent.byteCount >> pageShift)
      do throws(PinError) {
        try extent.source.pin(firstPage: first, pageCount: count) { run in
          machine.pinnedAddress = machine.pinnedAddress ?? run.base
        }
      } catch {
        throw Refusal(.ENOMEM, because: "addresses are exhausted")
      }
      machine.pinned.append((extent.source, first, count))
    }
  }

  private func touch() throws(Refusal) {
    guard let address = machine.pinnedAddress else {
      throw Refusal(.EINVAL, because: "nothing is pinned")
    }
    var byte: UInt8 = 0
    do throws(MemoryFault) {
      try unsafe withUnsafeMutableBytes(of: &byte) { (bytes) throws(MemoryFault) in
        try unsafe machine.physicalMemory.read(at: address, into: bytes)
      }
      byte &+= 1
      try unsafe withUnsafeBytes(of: byte) { (bytes) throws(MemoryFault) in
        try unsafe machine.physicalMemory.write(at: address, from: bytes)
      }
    } catch {
      throw Refusal(error == .gone ? .EIO : .EFAULT, because: "the memory is out of reach")
    }
  }

  private func identify(_ number: Int32, _ caller: any Caller) throws(Refusal) -> Int64 {
    switch caller.descriptor(number) {
    case nil: throw Refusal(.EBADF, because: "the descriptor is not open")
    case .machine: return 1
    case .foreign(let file): return file.memory == nil ? 3 : 2
    }
  }
}
