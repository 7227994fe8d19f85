public import Hardware

/// One call of a client while it is being served.
public protocol Caller: UserMemory {
  var process: any ClientProcess { get }

  /// What a descriptor number of the caller stands for; nil when it is not open.
  func descriptor(_ number: Int32) -> PassedDescriptor?

  /// Opens a descriptor for `file` in the caller's process once the call has succeeded, and stores
  /// its number, 32 bits wide, at `address`; without an address the number is the call's result.
  /// When that fails there, the host calls `file.installationFailed()`, then `file.release()`. At
  /// most one a call. Refused with EFAULT when `address` cannot be written.
  func install(
    _ file: any MachineFile, closeOnExec: Bool, numberAt address: UInt64?
  ) throws(Refusal)
}

extension Caller {
  /// Copies a fixed-size value in.
  @inlinable
  public func load<Value: BitwiseCopyable>(
    _ type: Value.Type, at address: UInt64, zero: Value
  ) throws(Refusal) -> Value {
    var value = zero
    do throws(MemoryFault) {
      try unsafe withUnsafeMutableBytes(of: &value) { (bytes) throws(MemoryFault) in
        try unsafe read(at: address, into: bytes)
      }
    } catch {
      throw Refusal(.EFAULT, because: "the argument cannot be read")
    }
    return value
  }

  /// Copies a fixed-size value out.
  @inlinable
  public func store<Value: BitwiseCopyable>(
    _ value: Value, at address: UInt64
  ) throws(Refusal) {
    do throws(MemoryFault) {
      try unsafe withUnsafeBytes(of: value) { (bytes) throws(MemoryFault) in
        try unsafe write(at: address, from: bytes)
      }
    } catch {
      throw Refusal(.EFAULT, because: "the answer cannot be written")
    }
  }
}

extension Caller {
  /// Copies bytes out.
  public func store(_ bytes: [UInt8], at address: UInt64) throws(Refusal) {
    var fault: MemoryFault?
    unsafe bytes.withUnsafeBytes { buffer in
      do throws(MemoryFault) { try unsafe write(at: address, from: buffer) } catch { fault = error }
    }
    if fault != nil { throw Refusal(.EFAULT, because: "the answer cannot be written") }
  }

  /// Fills an array with bytes of the caller's memory.
  public func load(into bytes: inout [UInt8], at address: UInt64) throws(Refusal) {
    var fault: MemoryFault?
    unsafe bytes.withUnsafeMutableBytes { buffer in
      do throws(MemoryFault) { try unsafe read(at: address, into: buffer) } catch { fault = error }
    }
    if fault != nil { throw Refusal(.EFAULT, because: "the argument cannot be read") }
  }
}
