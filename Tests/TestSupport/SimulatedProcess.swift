public import Clients
public import Hardware

/// A client process that lives in the test: a few mappings in plain memory.
public final class SimulatedProcess: ClientProcess, MemoryBacking {
  /// A mapping of private memory, or of a file.
  public struct Mapping {
    public var range: Range<UInt64>
    public var isWritable: Bool
    public var file: SimulatedFile?
    public var fileOffset: UInt64 = 0
  }

  public var isAlive = true
  public var userID: UInt32 = 1000
  public var capabilities: Set<Capability> = []
  public var lockedMemoryLimit: UInt64?
  public var pinnedPages = 0
  public var lockedPages = 0
  public private(set) var mappings: [Mapping] = []
  /// Bytes by address, a page at a time.
  private var pages: [UInt64: [UInt8]] = [:]
  private lazy var source = MemorySource(backing: self, in: memory)
  private let memory: PhysicalMemory

  public init(memory: PhysicalMemory) { self.memory = memory }

  public var privateMemory: MemorySource { source }

  public func has(_ capability: Capability) -> Bool { capabilities.contains(capability) }

  /// Maps zeroed memory, or a file.
  public func map(
    _ address: UInt64, byteCount: UInt64, isWritable: Bool = true, file: SimulatedFile? = nil,
    fileOffset: UInt64 = 0
  ) {
    mappings.append(
      Mapping(
        range: address..<address + byteCount, isWritable: isWritable, file: file,
        fileOffset: fileOffset))
  }

  public func unmap(_ address: UInt64) {
    mappings.removeAll { $0.range.lowerBound == address }
  }

  private func mapping(_ address: UInt64) -> Mapping? {
    mappings.first { $0.range.contains(address) }
  }

  // MARK: bytes

  public func read(
    at address: UInt64, into bytes: UnsafeMutableRawBufferPointer
  ) throws(MemoryFault) {
    for index in 0..<bytes.count {
      let place = address &+ UInt64(index)
      guard isAlive, let mapping = mapping(place) else { throw .notAccessible }
      unsafe bytes[index] = byte(place, mapping)
    }
  }

  public func write(
    at address: UInt64, from bytes: UnsafeRawBufferPointer
  ) throws(MemoryFault) {
    for index in 0..<bytes.count {
      let place = address &+ UInt64(index)
      guard isAlive, let mapping = mapping(place), mapping.isWritable else { throw .notAccessible }
      set(place, mapping, to: unsafe bytes[index])
    }
  }

  private func byte(_ address: UInt64, _ mapping: Mapping) -> UInt8 {
    if let file = mapping.file {
      return file.bytes[Int(address - mapping.range.lowerBound + mapping.fileOffset)]
    }
    return pages[address >> 12]?[Int(address & 4095)] ?? 0
  }

  private func set(_ address: UInt64, _ mapping: Mapping, to byte: UInt8) {
    if let file = mapping.file {
      file.bytes[Int(address - mapping.range.lowerBound + mapping.fileOffset)] = byte
    } else {
      pages[address >> 12, default: Array(repeating: 0, count: 4096)][Int(address & 4095)] = byte
    }
  }

  public func resolve(
    _ address: UInt64, byteCount: UInt64, writable: Bool, _ report: (SourceExtent) -> Void
  ) throws(MemoryFault) {
    var next = address
    let end = address &+ byteCount
    while next < end {
      guard isAlive, let mapping = mapping(next), mapping.isWritable || !writable else {
        throw .notAccessible
      }
      let count = min(end, mapping.range.upperBound) - next
      let source = mapping.file?.source ?? self.source
      let offset =
        mapping.file == nil ? next : next - mapping.range.lowerBound + mapping.fileOffset
      report(SourceExtent(source: source, offset: offset, byteCount: count))
      next += count
    }
  }
}

/// A memory file of the test.
public final class SimulatedFile: FileHandle, MemoryBacking {
  public var bytes: [UInt8]
  public private(set) lazy var source = MemorySource(backing: self, in: memory)
  private let memory: PhysicalMemory

  public init(byteCount: Int, memory: PhysicalMemory) {
    bytes = Array(repeating: 0, count: byteCount)
    self.memory = memory
  }

  public var byteCount: UInt64 { UInt64(bytes.count) }

  public func read(
    at offset: UInt64, into target: UnsafeMutableRawBufferPointer
  ) throws(MemoryFault) {
    guard offset + UInt64(target.count) <= byteCount else { throw .notAccessible }
    for index in 0..<target.count { unsafe target[index] = bytes[Int(offset) + index] }
  }

  public func write(at offset: UInt64, from source: UnsafeRawBufferPointer) throws(MemoryFault) {
    guard offset + UInt64(source.count) <= byteCount else { throw .notAccessible }
    for index in 0..<source.count { bytes[Int(offset) + index] = unsafe source[index] }
  }
}

/// A call of a simulated process. Descriptors are what the test put into `descriptors`.
public final class SimulatedCaller: Caller {
  public let simulated: SimulatedProcess
  public var descriptors: [Int32: PassedDescriptor] = [:]
  /// Files that calls installed, with the numbers they got.
  public private(set) var installed: [(number: Int32, file: any MachineFile)] = []
  private var nextDescriptor: Int32 = 100

  public init(_ process: SimulatedProcess) { simulated = process }

  public var process: any ClientProcess { simulated }

  public func read(
    at address: UInt64, into bytes: UnsafeMutableRawBufferPointer
  ) throws(MemoryFault) {
    try unsafe simulated.read(at: address, into: bytes)
  }

  public func write(at address: UInt64, from bytes: UnsafeRawBufferPointer) throws(MemoryFault) {
    try unsafe simulated.write(at: address, from: bytes)
  }

  public func descriptor(_ number: Int32) -> PassedDescriptor? { descriptors[number] }

  public func install(
    _ file: any MachineFile, closeOnExec: Bool, numberAt address: UInt64?
  ) throws(Refusal) {
    let number = nextDescriptor
    if let address { try store(number, at: address) }
    nextDescriptor += 1
    descriptors[number] = .machine(file)
    installed.append((number, file))
  }

  /// Closes a descriptor that a call installed.
  public func close(_ number: Int32) {
    guard case .machine(let file) = descriptors.removeValue(forKey: number) else { return }
    installed.removeAll { $0.number == number }
    file.release()
  }
}

/// Pages that nobody maps unless a test says so.
@safe public final class SimulatedPages: SharedPages {
  public let bytes: UnsafeMutableRawBufferPointer
  public var isMapped = false
  public var byteCount: Int { unsafe bytes.count }

  init(byteCount: Int) {
    unsafe bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: byteCount, alignment: 4096)
    unsafe bytes.initializeMemory(as: UInt8.self, repeating: 0)
  }

  deinit { unsafe bytes.deallocate() }
}

public final class SimulatedPagesProvider: SharedPagesProvider {
  public private(set) var made: [SimulatedPages] = []
  public init() {}
  public func makeSharedPages(byteCount: Int) -> (any SharedPages)? {
    let pages = SimulatedPages(byteCount: byteCount)
    made.append(pages)
    return pages
  }
}
