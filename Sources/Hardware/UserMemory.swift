/// The memory of whoever makes the present call, as far as drivers may see it.
public protocol UserMemory: AnyObject {
  /// Copies between the caller's memory and ours; an error leaves part of the bytes copied.
  func read(at address: UInt64, into bytes: UnsafeMutableRawBufferPointer) throws(MemoryFault)
  func write(at address: UInt64, from bytes: UnsafeRawBufferPointer) throws(MemoryFault)
}
