import CChannel
import CTestClient
import Clients
import Glibc
import Server
import Testing

/// A server with a test machine, and this process as its client.
@safe final class TestClient {
  let server: Server
  private var channel: UnsafeMutableRawPointer
  /// What the next call finds in its window, and what the last one left there.
  var window = [UInt8](repeating: 0, count: 4096)

  init(_ change: (inout ServerConfiguration) -> Void = { _ in }) throws {
    var configuration = ServerConfiguration()
    change(&configuration)
    server = try Server(configuration) { TestMachine(sharedPages: $0) }
    try server.start()
    unsafe channel = try #require(unsafe test_connect(server.socketPath))
  }

  deinit {
    server.stop()
    unsafe test_disconnect(channel)
  }

  var pages: UnsafeMutableRawPointer { unsafe channel }

  /// Says hello again, as a program does that was executed. The old channel stays mapped.
  func connectAgain() throws {
    unsafe channel = try #require(unsafe test_connect(server.socketPath))
  }

  /// A line of the census, which is taken under the server's lock.
  func count(_ name: String) -> Int {
    server.census.first { $0.name == name }?.count ?? 0
  }

  /// Waits for what the server's threads are about to do.
  func eventually(_ condition: () -> Bool) -> Bool {
    for _ in 0..<2000 {
      if condition() { return true }
      usleep(5000)
    }
    return false
  }

  func call(
    _ operation: viaduct_operation, file: Int32? = nil,
    _ change: (inout test_call) -> Void = { _ in }
  ) throws -> test_call {
    var call = test_call()
    call.operation = operation.rawValue
    if let file { unsafe test_identity(file, &call.device, &call.inode) }
    change(&call)
    let isAnswered = unsafe window.withUnsafeMutableBytes {
      unsafe test_call(channel, &call, $0.baseAddress)
    }
    try #require(isAnswered)
    return call
  }

  func path(
    _ operation: viaduct_operation, _ path: String, flags: Int32 = O_RDWR
  ) throws -> test_call {
    window = Array(path.utf8) + [UInt8](repeating: 0, count: 4096 - path.utf8.count)
    return try call(operation) { $0.argument.0 = UInt64(UInt32(bitPattern: flags)) }
  }

  var windowText: String {
    String(decoding: window.prefix { $0 != 0 }, as: UTF8.self)
  }

  /// Opens the device as the library does.
  func open(_ path: String = "/dev/echo") throws -> Int32 {
    let answer = try self.path(VIADUCT_OPEN, path)
    try #require(answer.action == VIADUCT_DESCRIPTOR.rawValue)
    let descriptor = unsafe test_claim(server.socketPath, answer.value.1)
    try #require(descriptor > 0)
    return descriptor
  }

  /// An ioctl whose argument is `argument`; 256 bytes there are in the window.
  func ioctl(
    _ file: Int32, _ command: TestMachine.Command, _ argument: UInt64 = 0, windowBytes: UInt32 = 0
  ) throws -> test_call {
    try call(VIADUCT_IOCTL, file: file) {
      $0.argument.0 = UInt64(command.rawValue)
      $0.argument.1 = argument
      $0.window_address = argument
      $0.window_readable = windowBytes
      $0.window_writable = windowBytes
    }
  }

  /// Closes the descriptor and tells the server, as the library does.
  func close(_ file: Int32) throws {
    var identity = test_call()
    unsafe test_identity(file, &identity.device, &identity.inode)
    Glibc.close(file)
    _ = try call(VIADUCT_CLOSED) {
      $0.device = identity.device
      $0.inode = identity.inode
    }
  }

  func claim(_ answer: test_call) -> Int32 {
    unsafe test_claim(server.socketPath, answer.value.1)
  }
}

/// Memory of this process for the server to look at.
@safe final class Region {
  let address: UInt64
  private let byteCount: Int

  init(pages: Int, shared: Bool = false, protection: Int32 = PROT_READ | PROT_WRITE) {
    byteCount = pages * 4096
    let kind = shared ? MAP_SHARED : MAP_PRIVATE
    let mapped = unsafe mmap(nil, byteCount, protection, kind | MAP_ANONYMOUS, -1, 0)
    address = UInt64(UInt(bitPattern: mapped))
  }

  deinit { unsafe munmap(UnsafeMutableRawPointer(bitPattern: UInt(address)), byteCount) }

  subscript(offset: Int) -> UInt8 {
    get { unsafe UnsafePointer<UInt8>(bitPattern: UInt(address))?[offset] ?? 0 }
    set { unsafe UnsafeMutablePointer<UInt8>(bitPattern: UInt(address))?[offset] = newValue }
  }

  func store(_ value: UInt64, at offset: Int) {
    unsafe UnsafeMutableRawPointer(bitPattern: UInt(address))?.storeBytes(
      of: value, toByteOffset: offset, as: UInt64.self)
  }

  /// Puts other, empty memory in its place.
  func replace() {
    _ = unsafe mmap(
      UnsafeMutableRawPointer(bitPattern: UInt(address)), byteCount, PROT_READ | PROT_WRITE,
      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0)
  }
}
