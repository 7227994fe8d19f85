/// The machine's physical addresses, and who lies behind them.
public final class PhysicalMemory {
  /// Addresses are given out in aligned pieces of this size.
  public static var chunkBytes: UInt64 { 1 << 30 }

  private struct Owner {
    weak var source: MemorySource?
    var chunk: UInt64
  }

  private let end: UInt64
  private var next: UInt64
  private var free: [UInt64] = []
  private var owners: [UInt64: Owner] = [:]

  /// A machine whose addresses have `addressBits` bits; the lowest 4 GiB stay unused.
  public init(addressBits: UInt64 = 46) {
    end = 1 << addressBits
    next = 4 * Self.chunkBytes
  }

  /// How many chunks are given out.
  public var chunkCount: Int { owners.count }

  func allocate(for source: MemorySource, chunk: UInt64) throws(PinError) -> PhysicalAddress {
    let base: UInt64
    if let reused = free.popLast() {
      base = reused
    } else {
      guard next < end else { throw .addressesExhausted }
      base = next
      next += Self.chunkBytes
    }
    owners[base / Self.chunkBytes] = Owner(source: source, chunk: chunk)
    return PhysicalAddress(base)
  }

  func release(_ base: PhysicalAddress) {
    owners[base.rawValue / Self.chunkBytes] = nil
    free.append(base.rawValue)
  }

  /// Reads bytes as a device does, by physical address. They may lie in several sources.
  public func read(
    at address: PhysicalAddress, into bytes: UnsafeMutableRawBufferPointer
  ) throws(MemoryFault) {
    var done = 0
    while done < bytes.count {
      let place = try locate(address.advanced(by: UInt64(done)))
      let count = min(bytes.count - done, place.room)
      try unsafe place.source.backing.read(
        at: place.offset, into: UnsafeMutableRawBufferPointer(rebasing: bytes[done..<done + count]))
      done += count
    }
  }

  /// Writes bytes as a device does, by physical address.
  public func write(
    at address: PhysicalAddress, from bytes: UnsafeRawBufferPointer
  ) throws(MemoryFault) {
    var done = 0
    while done < bytes.count {
      let place = try locate(address.advanced(by: UInt64(done)))
      let count = min(bytes.count - done, place.room)
      try unsafe place.source.backing.write(
        at: place.offset, from: UnsafeRawBufferPointer(rebasing: bytes[done..<done + count]))
      done += count
    }
  }

  private func locate(
    _ address: PhysicalAddress
  ) throws(MemoryFault) -> (source: MemorySource, offset: UInt64, room: Int) {
    let chunk = address.rawValue / Self.chunkBytes
    let inside = address.rawValue % Self.chunkBytes
    guard let owner = owners[chunk], let source = owner.source else { throw .gone }
    return (source, owner.chunk * Self.chunkBytes + inside, Int(Self.chunkBytes - inside))
  }
}
