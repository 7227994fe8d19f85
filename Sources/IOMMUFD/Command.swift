public import Clients
internal import Hardware

/// One command of /dev/iommu: its number, its argument, and what it does. Copies, sizes and
/// dispatch are the same for all (kernel: iommufd_ioctl_ops).
public protocol IoctlCommand: SendableMetatype {
  /// A structure of the kernel interface, imported from C: plain bytes.
  associatedtype Argument
  static var number: UInt32 { get }
  /// The least that a client may send: the structure as it was first released.
  static var minimumBytes: Int { get }
  /// An argument of zeros, which shorter ones are completed with.
  static var zero: Argument { get }

  static func execute(_ argument: inout Argument, _ call: Call) throws(Refusal) -> Int64
}

/// A command while it runs.
public struct Call {
  public let context: Context
  public let caller: any Caller
  public let address: UInt64
  let byteCount: Int

  /// Copies the argument back, as much of it as the client sent.
  public func respond<Argument>(_ argument: Argument) throws(Refusal) {
    do throws(MemoryFault) {
      try unsafe withUnsafeBytes(of: argument) { (bytes) throws(MemoryFault) in
        try unsafe caller.write(
          at: address,
          from: UnsafeRawBufferPointer(rebasing: bytes[..<min(byteCount, bytes.count)]))
      }
    } catch {
      throw Refusal(.EFAULT, because: "the answer cannot be written")
    }
  }
}

/// The commands there are. Adding one is adding a line where the table is made.
public final class CommandTable {
  typealias Runner = (Context, any Caller, UInt64, UInt32) throws(Refusal) -> Int64
  private var runners: [Runner?]

  /// The commands of the public interface (linux/iommufd.h).
  public init() {
    runners = Array(repeating: nil, count: Int(Self.last - Self.first) + 1)
    for add in Self.publicCommands { add(self) }
  }

  /// Numbers within which the size word is read before the number is judged.
  static var first: UInt32 { 0x80 }
  static var last: UInt32 { 0xa0 }

  public func add<Command: IoctlCommand>(_ command: Command.Type) {
    runners[Int(Command.number - Self.first)] = {
      (context, caller, address, byteCount) throws(Refusal) in
      try execute(Command.self, in: context, caller, address, byteCount)
    }
  }

  func run(
    _ request: UInt32, _ address: UInt64, in context: Context, _ caller: any Caller
  ) throws(Refusal) -> Int64 {
    let byteCount = try caller.load(UInt32.self, at: address, zero: 0)
    guard request >> 8 == 0x3b, let run = runners[Int(request & 0xff - Self.first)] else {
      throw Refusal(.ENOTTY, because: "no such command")
    }
    return try run(context, caller, address, byteCount)
  }
}

/// Copies the argument in by the rules of copy_struct_from_user, and executes.
private func execute<Command: IoctlCommand>(
  _ command: Command.Type, in context: Context, _ caller: any Caller, _ address: UInt64,
  _ byteCount: UInt32
) throws(Refusal) -> Int64 {
  guard byteCount >= Command.minimumBytes else {
    throw Refusal(.EINVAL, because: "the structure is shorter than its first release")
  }
  let size = MemoryLayout<Command.Argument>.size
  let known = min(Int(byteCount), size)
  if byteCount > size {
    try requireZeros(from: address &+ UInt64(size), to: UInt64(byteCount) - UInt64(size), caller)
  }
  var argument = Command.zero
  do throws(MemoryFault) {
    try unsafe withUnsafeMutableBytes(of: &argument) { (bytes) throws(MemoryFault) in
      try unsafe caller.read(
        at: address, into: UnsafeMutableRawBufferPointer(rebasing: bytes[..<known]))
    }
  } catch {
    throw Refusal(.EFAULT, because: "the argument cannot be read")
  }
  let call = Call(
    context: context, caller: caller, address: address, byteCount: Int(byteCount))
  return try Command.execute(&argument, call)
}

/// A newer, longer structure is accepted when what we do not know of it is zero.
private func requireZeros(
  from start: UInt64, to byteCount: UInt64, _ caller: any Caller
) throws(Refusal) {
  var address = start
  var left = byteCount
  while left > 0 {
    // Within one page, so that a fault behind a byte that is not zero does not hide it.
    let count = min(left, 4096 - address % 4096)
    var isZero = true
    do throws(MemoryFault) {
      try unsafe withUnsafeTemporaryBytes(Int(count)) { (bytes) throws(MemoryFault) in
        try unsafe caller.read(at: address, into: bytes)
        isZero = unsafe bytes.allSatisfy { $0 == 0 }
      }
    } catch {
      throw Refusal(.EFAULT, because: "the argument cannot be read")
    }
    guard isZero else {
      throw Refusal(.E2BIG, because: "the structure is longer than known and not zero there")
    }
    address &+= count
    left -= count
  }
}

/// A scratch buffer with typed errors.
func withUnsafeTemporaryBytes(
  _ byteCount: Int, _ body: (UnsafeMutableRawBufferPointer) throws(MemoryFault) -> Void
) throws(MemoryFault) {
  let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: byteCount, alignment: 16)
  defer { unsafe bytes.deallocate() }
  try unsafe body(bytes)
}
