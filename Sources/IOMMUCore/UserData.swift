public import Hardware

/// Bytes that a client passes through to a driver: a type number, an address and a length.
public struct UserData {
  public let type: UInt32
  public let address: UInt64
  public let byteCount: UInt32
  private let memory: any UserMemory

  public init(type: UInt32, address: UInt64, byteCount: UInt32, in memory: any UserMemory) {
    self.type = type
    self.address = address
    self.byteCount = byteCount
    self.memory = memory
  }

  /// Copies the driver's structure in. The client may send less than the whole, but at least
  /// `minimumBytes`; the rest stays as in `zero`.
  public func load<Value: BitwiseCopyable>(
    type expected: UInt32, zero: Value, minimumBytes: Int
  ) throws(DriverError) -> Value {
    try check(type: expected, of: Value.self, minimumBytes: minimumBytes)
    var value = zero
    do throws(MemoryFault) {
      try unsafe withUnsafeMutableBytes(of: &value) { (bytes) throws(MemoryFault) in
        try unsafe memory.read(
          at: address, into: UnsafeMutableRawBufferPointer(rebasing: bytes[..<Int(byteCount)]))
      }
    } catch {
      throw DriverError(.badAddress, because: "the driver data cannot be read")
    }
    return value
  }

  /// Copies the driver's structure back, as much of it as the client sent.
  public func store<Value: BitwiseCopyable>(
    _ value: Value, type expected: UInt32, minimumBytes: Int
  ) throws(DriverError) {
    try check(type: expected, of: Value.self, minimumBytes: minimumBytes)
    do throws(MemoryFault) {
      try unsafe withUnsafeBytes(of: value) { (bytes) throws(MemoryFault) in
        try unsafe memory.write(
          at: address, from: UnsafeRawBufferPointer(rebasing: bytes[..<Int(byteCount)]))
      }
    } catch {
      throw DriverError(.badAddress, because: "the driver data cannot be written")
    }
  }

  private func check<Value>(
    type expected: UInt32, of value: Value.Type, minimumBytes: Int
  ) throws(DriverError) {
    guard type == expected else {
      throw DriverError(.invalid, because: "the data type is not the driver's")
    }
    guard byteCount >= minimumBytes, byteCount <= MemoryLayout<Value>.size else {
      throw DriverError(.invalid, because: "the driver data has the wrong length")
    }
  }
}

/// An array of equal entries that a client passes through to a driver.
public struct UserDataArray {
  public let type: UInt32
  public let address: UInt64
  public let entryBytes: UInt32
  public let entryCount: UInt32
  private let memory: any UserMemory

  public init(
    type: UInt32, address: UInt64, entryBytes: UInt32, entryCount: UInt32, in memory: any UserMemory
  ) {
    self.type = type
    self.address = address
    self.entryBytes = entryBytes
    self.entryCount = entryCount
    self.memory = memory
  }

  /// Entry `index`, shorter or longer than the driver's structure as `UserData` allows.
  public func load<Value: BitwiseCopyable>(
    _ index: UInt32, type expected: UInt32, zero: Value, minimumBytes: Int
  ) throws(DriverError) -> Value {
    let entry = UserData(
      type: type, address: address &+ UInt64(entryBytes) * UInt64(index), byteCount: entryBytes,
      in: memory)
    return try entry.load(type: expected, zero: zero, minimumBytes: minimumBytes)
  }

  /// Every entry at once; longer entries must end in zeros. Fails as a whole.
  public func loadAll<Value: BitwiseCopyable>(
    type expected: UInt32, zero: Value
  ) throws(DriverError) -> [Value] {
    guard type == expected else {
      throw DriverError(.invalid, because: "the data type is not the driver's")
    }
    guard entryCount > 0 else {
      throw DriverError(.invalid, because: "the array is empty")
    }
    var values: [Value] = []
    let known = min(Int(entryBytes), MemoryLayout<Value>.size)
    for index in 0..<UInt64(entryCount) {
      var value = zero
      let start = address &+ UInt64(entryBytes) * index
      guard try isZero(start &+ UInt64(known), byteCount: Int(entryBytes) - known) else {
        throw DriverError(.tooBig, because: "an entry is longer than known and not zero there")
      }
      do throws(MemoryFault) {
        try unsafe withUnsafeMutableBytes(of: &value) { (bytes) throws(MemoryFault) in
          try unsafe memory.read(
            at: start, into: UnsafeMutableRawBufferPointer(rebasing: bytes[..<known]))
        }
      } catch {
        throw DriverError(.badAddress, because: "the array cannot be read")
      }
      values.append(value)
    }
    return values
  }

  private func isZero(_ address: UInt64, byteCount: Int) throws(DriverError) -> Bool {
    guard byteCount > 0 else { return true }
    let tail = UnsafeMutableRawBufferPointer.allocate(byteCount: byteCount, alignment: 8)
    defer { unsafe tail.deallocate() }
    do throws(MemoryFault) {
      try unsafe memory.read(at: address, into: tail)
    } catch {
      throw DriverError(.badAddress, because: "the array cannot be read")
    }
    return unsafe tail.allSatisfy { $0 == 0 }
  }
}
