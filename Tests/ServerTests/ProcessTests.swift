import CChannel
import CTestClient
import Glibc
import Server
import Testing

extension ServerTests {
  @Suite("Processes") struct Processes {
    @Test("noise in a slot is answered, and does no harm", arguments: 0..<8 as Range<UInt64>)
    func noise(seed: UInt64) throws {
      let client = try TestClient()
      let file = try client.open()
      for step in 0..<200 as Range<UInt64> {
        let slot = UInt32(step % 64)
        try #require(
          unsafe test_noise(client.pages, slot, seed &* 1_000_003 &+ step),
          "seed \(seed), step \(step)")
      }
      #expect(try client.ioctl(file, .nothing).result == 42)
      try client.close(file)
    }

    @Test("lengths beyond the window are cut")
    func wildLengths() throws {
      let client = try TestClient()
      let file = try client.open()
      for address in [0, 4096, .max - 8, .max] as [UInt64] {
        let answer = try client.call(VIADUCT_IOCTL, file: file) {
          $0.argument.0 = UInt64(TestMachine.Command.reverse.rawValue)
          $0.argument.1 = address
          $0.window_address = address
          $0.window_readable = .max
          $0.window_writable = .max
        }
        for (offset, length) in [(answer.offsets.0, answer.lengths.0)] {
          #expect(offset + length <= 4096)
        }
      }
      #expect(try client.ioctl(file, .nothing).result == 42)
      try client.close(file)
    }

    @Test("another process's descriptors are not to be had by its number")
    func foreignProcess() throws {
      let client = try TestClient()
      let file = try client.open()
      let answer = try client.call(VIADUCT_IOCTL, file: file) {
        $0.process = 0x7fff_ffff
        $0.argument.0 = UInt64(TestMachine.Command.identify.rawValue)
      }
      #expect(answer.action == VIADUCT_PROVIDE.rawValue)
      try client.close(file)
    }

    @Test("a client killed at any instant leaves nothing behind", arguments: [true, false])
    func killed(claims: Bool) throws {
      let client = try TestClient()
      let before = test_open_descriptor_count()
      var delay: UInt32 = 0
      for _ in 0..<40 {
        let process = unsafe test_fork_client(client.server.socketPath, "/dev/echo", claims)
        delay = (delay * 7 + 311) % 9000
        usleep(delay)
        test_kill(process)
      }
      #expect(client.eventually { client.count("sessions") == 1 })
      #expect(client.eventually { client.count("open files") == 0 })
      #expect(client.eventually { client.count("files") == 0 })
      #expect(client.count("promised descriptors") == 0)
      #expect(client.count("lingering files") == 0)
      #expect(client.eventually { test_open_descriptor_count() <= before })
      let file = try client.open()
      #expect(try client.ioctl(file, .nothing).result == 42)
      try client.close(file)
    }

    @Test("a server that stops leaves no descriptor and no file behind")
    func stopped() throws {
      let before = test_open_descriptor_count()
      for _ in 0..<5 {
        let client = try TestClient()
        let file = try client.open()
        let path = client.server.socketPath
        client.server.stop()
        #expect(unsafe access(path, F_OK) != 0)
        #expect(unsafe test_is_closed(client.pages))
        close(file)
      }
      #expect(test_open_descriptor_count() == before)
    }

    @Test("a socket in use is refused, one left behind is replaced")
    func sockets() throws {
      let path = "/tmp/viaduct-test-\(getpid()).sock"
      let first = try TestClient { $0.socketPath = path }
      #expect(throws: ServerError.self) { try TestClient { $0.socketPath = path } }
      #expect(try first.path(VIADUCT_STAT, "/dev/echo", flags: 0).result == 0)
      first.server.stop()
      let left = socket(AF_UNIX, Int32(SOCK_SEQPACKET.rawValue), 0)
      var address = sockaddr_un()
      address.sun_family = sa_family_t(AF_UNIX)
      unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: path.utf8) }
      let bound = unsafe withUnsafePointer(to: &address) {
        unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          unsafe bind(left, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
        }
      }
      close(left)
      #expect(bound == 0)
      let second = try TestClient { $0.socketPath = path }
      second.server.stop()
      let plain = unsafe open(path, O_CREAT | O_WRONLY, 0o600)
      close(plain)
      #expect(throws: ServerError.self) { try TestClient { $0.socketPath = path } }
      unsafe unlink(path)
    }

    @Test("private machines do not see one another's files")
    func privateMachines() throws {
      let client = try TestClient { $0.hasPrivateMachines = true }
      let file = try client.open()
      #expect(try client.ioctl(file, .identify, UInt64(file)).result == 1)
      try client.close(file)
    }
  }
}
