import CChannel
import CTestClient
import Glibc
import Server
import Testing

/// One after another, since they count this process's descriptors and fork it.
@Suite("Server", .serialized)
struct ServerTests {}

extension ServerTests {
  @Suite("Files") struct Files {
    @Test("an opened file answers until its last descriptor is closed")
    func lifeOfAFile() throws {
      let client = try TestClient()
      let file = try client.open()
      let copy = dup(file)
      #expect(try client.ioctl(file, .nothing).result == 42)
      #expect(try client.call(VIADUCT_IDENTIFY, file: file).result == 1)
      try client.close(file)
      #expect(client.count("open files") == 1)
      try client.close(copy)
      #expect(client.count("open files") == 0)
      #expect(client.count("released") == 1)
    }

    @Test("the end of a file is noticed without being told")
    func unreportedEnd() throws {
      let client = try TestClient()
      let file = try client.open()
      _ = try client.ioctl(file, .nothing)
      close(file)
      #expect(client.eventually { client.count("open files") == 0 })
    }

    @Test("a file that ended is foreign")
    func endedFile() throws {
      let client = try TestClient()
      let file = try client.open()
      var identity = test_call()
      unsafe test_identity(file, &identity.device, &identity.inode)
      try client.close(file)
      let answer = try client.call(VIADUCT_IOCTL) {
        $0.device = identity.device
        $0.inode = identity.inode
      }
      #expect(answer.action == VIADUCT_PASS.rawValue)
    }

    @Test("a device file polls as readable and writable")
    func alwaysReady() throws {
      let client = try TestClient()
      let file = try client.open()
      #expect(test_poll(file) == UInt32(POLLIN | POLLOUT))
      try client.close(file)
    }

    @Test("queues show exactly whether they hold something", arguments: [true, false])
    func queues(writable: Bool) throws {
      let client = try TestClient()
      let file = try client.open()
      let memory = Region(pages: 1)
      let made = try client.ioctl(
        file, writable ? .makeQueue : .makeReadOnlyQueue, memory.address, windowBytes: 256)
      #expect(made.action == VIADUCT_DESCRIPTOR.rawValue)
      #expect(made.value.2 == memory.address)
      #expect(made.value.3 == 1)
      let queue = client.claim(made)
      #expect(try client.call(VIADUCT_IDENTIFY, file: queue).result == 2)
      let idle = writable ? UInt32(POLLOUT) : 0
      for _ in 0..<3 {
        #expect(test_poll(queue) == idle)
        _ = try client.ioctl(file, .setReadable)
        #expect(test_poll(queue) == idle | UInt32(POLLIN))
        _ = try client.ioctl(file, .setReadable)
        _ = try client.ioctl(file, .clearReadable)
      }
      #expect(test_poll(queue) == idle)
      try client.close(queue)
      #expect(client.count("released") == 1)
      // Nobody is there to be woken.
      _ = try client.ioctl(file, .setReadable)
      try client.close(file)
    }

    @Test("a descriptor's number must have a place")
    func placeOfNumber() throws {
      let client = try TestClient()
      let file = try client.open()
      let readOnly = Region(pages: 1, protection: PROT_READ)
      let refused = try client.ioctl(file, .makeQueue, readOnly.address)
      #expect(refused.result == -Int64(EFAULT))
      try client.close(file)
    }

    @Test("a descriptor that could not be installed is undone")
    func failedInstallation() throws {
      let client = try TestClient()
      let answer = try client.path(VIADUCT_OPEN, "/dev/echo")
      let file = client.claim(answer)
      close(file)
      _ = try client.call(VIADUCT_INSTALL_FAILED) { $0.argument.0 = answer.value.1 }
      #expect(client.count("undone") == 1)
      #expect(client.count("released") == 1)
      #expect(client.count("promised descriptors") == 0)
    }

    @Test("an unclaimed descriptor ends with its process")
    func unclaimed() throws {
      let client = try TestClient()
      _ = try client.path(VIADUCT_OPEN, "/dev/echo")
      #expect(client.count("promised descriptors") == 1)
      try client.connectAgain()
      #expect(client.count("promised descriptors") == 0)
      #expect(client.count("undone") == 1)
      #expect(client.count("released") == 1)
    }

    @Test("a token serves once")
    func tokens() throws {
      let client = try TestClient()
      let answer = try client.path(VIADUCT_OPEN, "/dev/echo")
      #expect(unsafe test_claim(client.server.socketPath, answer.value.1 ^ 1) == -ENOENT)
      let other = unsafe test_claim_elsewhere(client.server.socketPath, answer.value.1)
      #expect(other == -ENOENT)
      let file = client.claim(answer)
      #expect(file > 0)
      #expect(client.claim(answer) == -ENOENT)
      try client.close(file)
    }

    @Test("promises that are never claimed are limited")
    func promiseLimit() throws {
      let client = try TestClient()
      var last: Int64 = 0
      for _ in 0..<300 { last = try client.path(VIADUCT_OPEN, "/dev/echo").result }
      #expect(last == -Int64(EMFILE))
      #expect(client.count("promised descriptors") <= 256)
    }

    @Test("mapped pages keep their file")
    func mappedPages() throws {
      let client = try TestClient()
      let file = try client.open()
      let answer = try client.call(VIADUCT_MMAP, file: file) { $0.argument.0 = 4096 }
      #expect(answer.action == VIADUCT_DESCRIPTOR.rawValue)
      let pages = client.claim(answer)
      let mapped = unsafe mmap(nil, 4096, PROT_READ, MAP_SHARED, pages, 0)
      close(pages)
      try client.close(file)
      #expect(client.count("released") == 0)
      #expect(client.count("lingering files") == 1)
      unsafe munmap(mapped, 4096)
      #expect(client.eventually { client.count("released") == 1 })
      #expect(client.count("lingering files") == 0)
      #expect(client.count("shared pages") == 0)
    }
  }

  @Suite("Paths") struct Paths {
    @Test("the tree is on disk, the machine's files are not")
    func tree() throws {
      let client = try TestClient()
      let answer = try client.path(VIADUCT_OPEN, "/sys/echo/link/name", flags: O_RDONLY)
      #expect(answer.action == VIADUCT_REDIRECT.rawValue)
      let path = client.windowText
      let descriptor = unsafe open(path, O_RDONLY)
      var text = [UInt8](repeating: 0, count: 8)
      #expect(unsafe read(descriptor, &text, 8) == 5)
      close(descriptor)
      #expect(text.starts(with: Array("echo\n".utf8)))
      #expect(try client.path(VIADUCT_OPEN, "/sys/echo/none").result == -Int64(ENOENT))
      #expect(try client.path(VIADUCT_OPEN, "/etc/passwd").action == VIADUCT_PASS.rawValue)
      let link = try client.path(VIADUCT_READLINK, "/sys/echo/link", flags: 0)
      #expect(link.action == VIADUCT_REDIRECT.rawValue)
      client.server.stop()
      #expect(unsafe access(path, F_OK) != 0)
    }

    @Test("a machine's file is found over a link in the tree")
    func overLink() throws {
      let client = try TestClient()
      let file = try client.open("/sys/echo/link/control")
      #expect(try client.ioctl(file, .nothing).result == 42)
      try client.close(file)
    }

    @Test("stat and fstat show the same file")
    func status() throws {
      let client = try TestClient()
      _ = try client.path(VIADUCT_STAT, "/dev/echo", flags: 0)
      let byPath = client.window.prefix(48)
      let file = try client.open()
      _ = try client.call(VIADUCT_FSTAT, file: file)
      #expect(client.window.prefix(48) == byPath)
      let shown = unsafe client.window.withUnsafeBytes {
        unsafe $0.loadUnaligned(as: viaduct_status.self)
      }
      #expect(shown.mode == S_IFCHR | 0o666)
      #expect(shown.special == 10 << 8 | 126)
      try client.close(file)
    }

    @Test("a directory or a new file it is not")
    func openFlags() throws {
      let client = try TestClient()
      let directory = try client.path(VIADUCT_OPEN, "/dev/echo", flags: O_DIRECTORY)
      #expect(directory.result == -Int64(ENOTDIR))
      let created = try client.path(VIADUCT_OPEN, "/dev/echo", flags: O_CREAT | O_EXCL)
      #expect(created.result == -Int64(EEXIST))
      #expect(client.count("open files") == 0)
      let inherited = try client.path(VIADUCT_OPEN, "/dev/echo", flags: O_RDWR | O_CLOEXEC)
      #expect(inherited.value.3 == 1)
    }

    @Test("fail-nth is for threads of clients")
    func failNth() throws {
      let client = try TestClient()
      let own = test_thread()
      for place in ["self", "self/task/\(own)", "thread-self"] {
        try client.close(try client.open("/proc/\(place)/fail-nth"))
      }
      let foreign = try client.path(VIADUCT_OPEN, "/proc/self/task/1/fail-nth")
      #expect(foreign.action == VIADUCT_PASS.rawValue)
      #expect(client.count("open files") == 0)
    }

    @Test("the channel names what is served")
    func prefixes() throws {
      let client = try TestClient()
      var bytes = [UInt8](repeating: 0, count: 2048)
      _ = unsafe test_prefix_bytes(client.pages, &bytes, 2048)
      let names = bytes.split(separator: 0).map { String(decoding: $0, as: UTF8.self) }
      #expect(names.contains("/dev/echo"))
      #expect(names.contains("/proc/*/task/*/fail-nth"))
    }
  }
}
