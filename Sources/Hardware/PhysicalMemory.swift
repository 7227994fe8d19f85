/// The machine's physical addresses, and who lies behind them.
public final class PhysicalMemory {
  /// Addresses are given out in aligned pieces of this size.
  public static var chunkBytes: UInt64 { 1 << 30 }

  /// Who has a chunk of addresses. A pin holds its source, and a chunk exists as long as it has
  /// pins.
  private struct Owner {
    unowned var source: MemorySource
    var chunk: UInt64
  }

  private static var lowest: UInt64 { 4 }  // In chunks: the lowest 4 GiB stay unused.
  private let chunkLimit: UInt64
  private var free: [UInt64] = []
  /// By chunk, from the lowest one on.
  private var owners: [Owner?] = []

  /// A machine whose addresses have `addressBits` bits; the lowest 4 GiB stay unused.
  public init(addressBits: UInt64 = 46) {
    chunkLimit = (1 << addressBits) / Self.chunkBytes
  }

  /// How many chunks are given out.
  public var chunkCount: Int { owners.count - free.count }

  func allocate(for source: MemorySource, chunk: UInt64) throws(PinError) -> PhysicalAddress {
    let owner = Owner(source: source, chunk: chunk)
    let number: UInt64
    if let reused = free.popLast() {
      number = reused
      owners[Int(number - Self.lowest)] = owner
    } else {
      number = UInt64(owners.count) + Self.lowest
      guard number < chunkLimit else { throw .addressesExhausted }
      owners.append(owner)
    }
    return PhysicalAddress(number * Self.chunkBytes)
  }

  func release(_ base: PhysicalAddress) {
    let number = base.rawValue / Self.chunkBytes
    owners[Int(number - Self.lowest)] = nil
    free.append(number)
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
    guard chunk >= Self.lowest, chunk - Self.lowest < UInt64(owners.count),
      let owner = owners[Int(chunk - Self.lowest)]
    else { throw .gone }
    return (owner.source, owner.chunk * Self.chunkBytes + inside, Int(Self.chunkBytes - inside))
  }
}
