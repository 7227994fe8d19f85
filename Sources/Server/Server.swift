import CHost
public import Clients
import Glibc

/// Serves a machine to client processes. It owns the only threads and the only lock of the product.
public final class Server {
  /// Where clients find it.
  public let socketPath: String
  private let directory: String
  private let core: Core
  private let listener: Descriptor
  private let reception: Reception
  private var thread: ServerThread?

  /// `makeMachine` is called once, or for each process where machines are private.
  public init(
    _ configuration: ServerConfiguration,
    makeMachine: @escaping (any SharedPagesProvider) -> any ServedMachine
  ) throws(ServerError) {
    host_guard_install()
    directory = try Self.makeDirectory()
    socketPath = configuration.socketPath ?? directory + "/socket"
    do throws(ServerError) {
      try Self.clearPath(socketPath)
      let listening = unsafe host_listen(socketPath)
      guard listening >= 0 else {
        throw ServerError("cannot listen at \(socketPath): \(errorText(-listening))")
      }
      listener = Descriptor(owning: listening)
      if configuration.socketPath == nil { Self.admitDescendants(directory, socketPath) }
      do throws(SystemError) {
        core = try Core(configuration, directory: directory, makeMachine: makeMachine)
        reception = try Reception(core: core, listener: listener)
      } catch {
        unsafe unlink(socketPath)
        throw ServerError("cannot start: \(errorText(error.number))")
      }
    } catch {
      removeDirectory(directory)
      throw error
    }
  }

  deinit { stop() }

  /// Starts to take clients.
  public func start() throws(ServerError) {
    let reception = reception
    thread = ServerThread { reception.run() }
    guard thread != nil else { throw ServerError("cannot start a thread") }
  }

  /// Lets all clients go, ends the threads and removes what was on disk.
  public func stop() {
    guard let thread else { return }
    self.thread = nil
    thread.join { reception.stop() }
    reception.endAllSessions()
    unsafe unlink(socketPath)
    removeDirectory(directory)
  }

  /// What is alive, for leak checks: the server's own things, then the machine's.
  public var census: [(name: String, count: Int)] {
    core.lock.withLock { () -> [(name: String, count: Int)] in
      [
        ("sessions", core.sessions.count),
        ("files", core.files.count),
        ("lingering files", core.lingering.count),
        ("promised descriptors", core.installations.count),
        ("shared pages", core.clients.hostPages.count),
      ] + core.machine.census
    }
  }

  private static func makeDirectory() throws(ServerError) -> String {
    let runtime = unsafe getenv("XDG_RUNTIME_DIR").map { unsafe String(cString: $0) }
    // A longer path would not fit into a socket's address.
    for base in [runtime, "/tmp"].compactMap({ $0 })
    where base.hasPrefix("/") && base.utf8.count < 64 {
      var template = Array((base + "/viaduct-XXXXXX").utf8CString)
      let made = unsafe template.withUnsafeMutableBufferPointer { buffer -> String? in
        guard let base = buffer.baseAddress, let name = unsafe mkdtemp(base) else { return nil }
        return unsafe String(cString: name)
      }
      if let made { return made }
    }
    throw ServerError("cannot make a directory in $XDG_RUNTIME_DIR or /tmp: \(errorText(errno))")
  }

  /// A privileged host lets clients that give up their privileges come in; who they are is checked
  /// when they do.
  private static func admitDescendants(_ directory: String, _ socketPath: String) {
    guard geteuid() == 0 else { return }
    unsafe chmod(directory, 0o711)
    unsafe chmod(socketPath, 0o666)
  }

  /// Removes a socket that nobody listens at; refuses one that is in use, and other files.
  private static func clearPath(_ path: String) throws(ServerError) {
    var status = stat()
    guard unsafe lstat(path, &status) == 0 else { return }
    guard status.st_mode & S_IFMT == S_IFSOCK else {
      throw ServerError("\(path) exists and is not a socket")
    }
    let connection = unsafe host_connect(path)
    if connection >= 0 {
      close(connection)
      throw ServerError("another server listens at \(path)")
    }
    guard connection == -ECONNREFUSED else {
      throw ServerError("cannot tell whether \(path) is in use: \(errorText(-connection))")
    }
    unsafe unlink(path)
  }
}

func errorText(_ number: Int32) -> String { unsafe String(cString: strerror(number)) }
