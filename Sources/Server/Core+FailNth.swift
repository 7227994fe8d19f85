import Clients
import Hardware

extension Core {
  /// Arms the fault injection asked for on the command line, at the very first call.
  func armFirst(_ machine: any ServedMachine, _ process: any ClientProcess, _ thread: Int32) {
    guard let count = failNth else { return }
    failNth = nil
    let text = HostCaller("\(count)", for: process)
    let file = machine.failNthFile(of: process, thread: thread)
    _ = try? file.write(0, count: UInt64(text.bytes.count), offset: nil, caller: text)
    file.release()
  }
}

/// A caller inside the host: its memory is a text at address 0.
private final class HostCaller: Caller {
  let bytes: [UInt8]
  let process: any ClientProcess

  init(_ text: String, for process: any ClientProcess) {
    bytes = Array(text.utf8)
    self.process = process
  }

  func read(at address: UInt64, into target: UnsafeMutableRawBufferPointer) throws(MemoryFault) {
    let (end, overflow) = address.addingReportingOverflow(UInt64(target.count))
    guard !overflow, end <= UInt64(bytes.count) else { throw .notAccessible }
    unsafe target.copyBytes(from: bytes[Int(address)..<Int(end)])
  }

  func write(at address: UInt64, from source: UnsafeRawBufferPointer) throws(MemoryFault) {
    throw .notAccessible
  }

  func descriptor(_ number: Int32) -> PassedDescriptor? { nil }

  func install(
    _ file: any MachineFile, closeOnExec: Bool, numberAt address: UInt64?
  ) throws(Refusal) {
    throw Refusal(.EMFILE, because: "the host has no descriptors")
  }
}
