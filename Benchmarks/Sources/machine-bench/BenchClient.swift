import CKernelABI
import Clients
import Hardware
import Machine

/// A client whose memory costs nothing to reach: what is left is the machine's own work.
final class BenchClient: ClientProcess, Caller, MemoryBacking {
  let machine: Machine
  var file: (any MachineFile)?
  private lazy var source = MemorySource(backing: self, in: machine.physicalMemory)
  /// The argument of the present call; every address stands for its beginning.
  let argument = UnsafeMutableRawBufferPointer.allocate(byteCount: 256, alignment: 16)

  var isAlive: Bool { true }
  var userID: UInt32 { 0 }
  var lockedMemoryLimit: UInt64? { nil }
  var pinnedPages = 0
  var lockedPages = 0
  var process: any ClientProcess { self }

  init() throws {
    machine = Machine(sharedPages: NoPages())
    argument.initializeMemory(as: UInt8.self, repeating: 0)
    file = try machine.open("/dev/iommu", caller: self)
  }

  func has(_ capability: Capability) -> Bool { true }

  func resolve(
    _ address: UInt64, byteCount: UInt64, writable: Bool, _ report: (SourceExtent) -> Void
  ) throws(MemoryFault) {
    report(SourceExtent(source: source, offset: address, byteCount: byteCount))
  }

  func read(
    at address: UInt64, into bytes: UnsafeMutableRawBufferPointer
  ) throws(MemoryFault) {
    bytes.copyMemory(from: UnsafeRawBufferPointer(rebasing: argument[..<bytes.count]))
  }

  func write(at address: UInt64, from bytes: UnsafeRawBufferPointer) throws(MemoryFault) {
    UnsafeMutableRawBufferPointer(rebasing: argument[..<bytes.count]).copyMemory(from: bytes)
  }

  func descriptor(_ number: Int32) -> PassedDescriptor? { nil }
  func install(
    _ file: any MachineFile, closeOnExec: Bool, numberAt address: UInt64?
  ) throws(Refusal) {}

  func call<Argument>(_ number: UInt32, _ value: inout Argument) {
    argument.storeBytes(of: value, as: Argument.self)
    argument.storeBytes(of: UInt32(MemoryLayout<Argument>.size), as: UInt32.self)
    machine.beginCall(of: self, thread: 1)
    do throws(Refusal) {
      _ = try file?.ioctl(0x3b00 | number, 0x1000, caller: self)
    } catch {
      fatalError("\(error.errno) because \(error.rule)")
    }
    machine.endCall(of: self, thread: 1)
    value = argument.load(as: Argument.self)
  }
}

final class NoPages: SharedPagesProvider {
  func makeSharedPages(byteCount: Int) -> (any SharedPages)? { nil }
}
