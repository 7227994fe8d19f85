import CChannel
import CTestClient
import Glibc
import Server
import Testing

extension ServerTests {
  @Suite("Memory") struct Memory {
    @Test("arguments in the window are answered in the window")
    func window() throws {
      let client = try TestClient()
      let file = try client.open()
      let memory = Region(pages: 1)
      client.window = (0..<4096).map { UInt8(truncatingIfNeeded: $0) }
      let answer = try client.ioctl(file, .reverse, memory.address, windowBytes: 32)
      #expect(answer.result == 0)
      #expect(answer.write_count == 1)
      #expect(answer.offsets.0 == 16 && answer.lengths.0 == 16)
      #expect(Array(client.window[16..<32]) == (0..<16).reversed())
      #expect(memory[16] == 0, "the client stores it, not the host")
      try client.close(file)
    }

    @Test("what the window does not show of the client is not answered through it")
    func unreadWindow() throws {
      let client = try TestClient()
      let file = try client.open()
      let memory = Region(pages: 1)
      client.window = (0..<4096).map { UInt8(truncatingIfNeeded: $0) }
      let answer = try client.call(VIADUCT_IOCTL, file: file) {
        $0.argument.0 = UInt64(TestMachine.Command.reverse.rawValue)
        $0.argument.1 = memory.address
        $0.window_address = memory.address
        $0.window_readable = 16
        $0.window_writable = 4096
      }
      #expect(answer.result == 0)
      #expect(answer.write_count == 0)
      #expect((16..<32).map { memory[$0] } == (0..<16).reversed())
      try client.close(file)
    }

    @Test("an argument half in the window is read and written in both places")
    func straddling() throws {
      let client = try TestClient()
      let file = try client.open()
      let memory = Region(pages: 1)
      for index in 0..<32 { memory[index] = UInt8(index) }
      client.window = (0..<4096).map { UInt8(truncatingIfNeeded: $0) }
      let answer = try client.ioctl(file, .reverse, memory.address, windowBytes: 20)
      #expect(answer.result == 0)
      #expect(answer.write_count == 1)
      #expect(answer.offsets.0 == 16 && answer.lengths.0 == 4)
      #expect((20..<32).map { memory[$0] } == (0..<12).reversed())
      try client.close(file)
    }

    @Test(
      "memory that may not be written is not", arguments: [PROT_READ, PROT_NONE] as [Int32])
    func protections(protection: Int32) throws {
      let client = try TestClient()
      let file = try client.open()
      let target = Region(pages: 1, protection: protection)
      let pointer = Region(pages: 1)
      pointer.store(target.address, at: 0)
      #expect(try client.ioctl(file, .poke, pointer.address).result == -Int64(EFAULT))
      pointer.store(0, at: 0)
      #expect(try client.ioctl(file, .poke, pointer.address).result == -Int64(EFAULT))
      pointer.store(.max, at: 0)
      #expect(try client.ioctl(file, .poke, pointer.address).result == -Int64(EFAULT))
      #expect(try client.ioctl(file, .poke, 8).result == -Int64(EFAULT))
      let writable = Region(pages: 1)
      pointer.store(writable.address + 4095, at: 0)
      #expect(try client.ioctl(file, .poke, pointer.address).result == 0)
      #expect(writable[4095] == 0x5a)
      try client.close(file)
    }

    @Test("pinned private memory is announced, and reached until it is replaced")
    func replacement() throws {
      let client = try TestClient()
      let file = try client.open()
      let (memory, argument) = (Region(pages: 4), Region(pages: 1))
      argument.store(memory.address, at: 0)
      argument.store(4 * 4096, at: 8)
      #expect(try client.ioctl(file, .pin, argument.address).result == 0)
      var (low, high): (UInt64, UInt64) = (0, 0)
      unsafe test_pinned(client.pages, &low, &high)
      #expect(low <= memory.address && high >= memory.address + 4 * 4096)
      #expect(try client.ioctl(file, .touch).result == 0)
      #expect(memory[0] == 1)

      memory.replace()
      _ = try client.call(VIADUCT_REPLACED) {
        $0.argument.0 = memory.address
        $0.argument.1 = 4 * 4096
      }
      #expect(try client.ioctl(file, .touch).result == -Int64(EIO))
      #expect(memory[0] == 0)
      // What took its place can be pinned beside it.
      #expect(try client.ioctl(file, .pin, argument.address).result == 0)
      #expect(try client.ioctl(file, .touch).result == 0)
      #expect(memory[0] == 1)
      _ = try client.ioctl(file, .unpin, 1)
      unsafe test_pinned(client.pages, &low, &high)
      #expect(low <= memory.address && high >= memory.address + 4096)

      _ = try client.ioctl(file, .unpin)
      unsafe test_pinned(client.pages, &low, &high)
      #expect(low >= high)
      try client.close(file)
    }

    @Test("pinned memory of a program is out of reach of the next one")
    func executed() throws {
      let client = try TestClient()
      let file = try client.open()
      let (memory, argument) = (Region(pages: 1), Region(pages: 1))
      argument.store(memory.address, at: 0)
      argument.store(4096, at: 8)
      #expect(try client.ioctl(file, .pin, argument.address).result == 0)
      let before = unsafe client.pages
      try client.connectAgain()
      #expect(unsafe test_is_closed(before))
      #expect(client.count("ended") == 1)
      #expect(try client.ioctl(file, .touch).result == -Int64(EIO))
      #expect(memory[0] == 0)
      _ = try client.ioctl(file, .unpin)
      try client.close(file)
      unsafe test_disconnect(before)
    }

    @Test("shared memory is the file's, whoever maps it, and outlives the mapping")
    func shared() throws {
      let client = try TestClient()
      let file = try client.open()
      let argument = Region(pages: 1)
      let memory = unsafe test_memfd("test", 4 * 4096)
      let mapped = unsafe mmap(nil, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 4096)
      argument.store(UInt64(UInt(bitPattern: mapped)), at: 0)
      argument.store(8192, at: 8)
      #expect(try client.ioctl(file, .pin, argument.address).result == 0)
      unsafe munmap(mapped, 8192)
      #expect(try client.ioctl(file, .touch).result == 0)
      var byte: UInt8 = 0
      #expect(unsafe pread(memory, &byte, 1, 4096) == 1)
      #expect(byte == 1)
      // A file that shrinks takes its pages along, and the host survives.
      ftruncate(memory, 0)
      #expect(try client.ioctl(file, .touch).result == -Int64(EFAULT))
      _ = try client.ioctl(file, .unpin)
      close(memory)
      try client.close(file)
    }

    @Test("a page has one address however it is named", arguments: [false, true])
    func oneAddress(shared: Bool) throws {
      let client = try TestClient()
      let file = try client.open()
      let argument = Region(pages: 1)
      let memory = unsafe test_memfd("test", 4096)
      let flags = shared ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS
      var addresses: Set<Int> = []
      var mapped = unsafe mmap(nil, 4096, PROT_READ | PROT_WRITE, flags, memory, 0)
      for _ in 0..<2 {
        argument.store(UInt64(UInt(bitPattern: mapped)), at: 0)
        argument.store(4096, at: 8)
        #expect(try client.ioctl(file, .pin, argument.address).result == 0)
        addresses.insert(client.count("pinned at"))
        if shared {
          unsafe mapped = mmap(nil, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0)
        }
      }
      #expect(addresses.count == 1)
      _ = try client.ioctl(file, .unpin)
      close(memory)
      try client.close(file)
    }

    @Test("descriptors are told apart", arguments: ServerConfiguration.DescriptorAccess.allCases)
    func descriptors(access: ServerConfiguration.DescriptorAccess) throws {
      let client = try TestClient { $0.descriptors = access }
      let file = try client.open()
      let memory = unsafe test_memfd("test", 4096)
      let (other, pathOnly) = unsafe (open("/proc/self/maps", O_RDONLY), open("/", 0o10000000))
      for (number, expected) in [
        (file, 1), (memory, 2), (other, 3), (pathOnly, -Int64(EBADF)), (-1, -Int64(EBADF)),
        (99_999, -Int64(EBADF)),
      ] {
        var answer = try client.ioctl(file, .identify, UInt64(UInt32(bitPattern: number)))
        if access == .provided, number >= 0 {
          #expect(answer.action == VIADUCT_PROVIDE.rawValue)
          #expect(answer.value.0 == UInt64(number))
          let sent: Int32 = number == 99_999 ? -1 : number
          let path = client.server.socketPath
          #expect(unsafe test_provide(path, memory, answer.value.0 + 1) == -EINVAL)
          #expect(unsafe test_provide(client.server.socketPath, sent, answer.value.0) == 0)
          answer = try client.ioctl(file, .identify, UInt64(number))
        }
        #expect(answer.result == expected)
      }
      // What was not asked for is not taken.
      #expect(unsafe test_provide(client.server.socketPath, memory, 5) == -EINVAL)
      for descriptor in [memory, other, pathOnly] { close(descriptor) }
      try client.close(file)
      #expect(client.count("released") == 1)
    }

    @Test("a helper thread reaches the memory that the host may not")
    func helper() throws {
      let client = try TestClient { $0.memory = .helper }
      #expect(unsafe test_needs_helper(client.pages))
      #expect(unsafe test_start_helper(client.pages))
      let file = try client.open()
      let (pointer, target) = (Region(pages: 1), Region(pages: 1))
      pointer.store(target.address, at: 0)
      #expect(try client.ioctl(file, .poke, pointer.address).result == 0)
      #expect(target[0] == 0x5a)
      try client.close(file)
    }

    @Test("a helper that does not answer is not waited for again")
    func lostHelper() throws {
      let client = try TestClient { $0.memory = .helper }
      let file = try client.open()
      let pointer = Region(pages: 1)
      #expect(try client.ioctl(file, .poke, pointer.address).result == -Int64(EFAULT))
      for _ in 0..<20 {
        #expect(try client.ioctl(file, .poke, pointer.address).result == -Int64(EFAULT))
      }
      try client.close(file)
    }
  }
}
