import CKernelABI
import Clients
import IOMMUFD
import Machine
import TestSupport
import Testing

@Suite("Arguments of the commands")
struct ArgumentTests {
  typealias World = ArgumentWorld

  private static func sized(_ bytes: [UInt8], _ size: Int) -> [UInt8] {
    littleEndian(UInt32(size)) + bytes[4...]
  }

  @Test("a complete argument is accepted", arguments: commands)
  func complete(command: Command) throws {
    let world = try World()
    let bytes = try command.bytes(world)
    let guardBytes = [UInt8](repeating: 0xee, count: 16)
    #expect(try world.call(command.number, bytes + guardBytes, at: 8) == command.answer)
    var behind = guardBytes
    try world.client.caller.load(
      into: &behind, at: World.argument + 8 + UInt64(bytes.count))
    #expect(behind == guardBytes)
    try world.close()
    #expect(world.client.leftovers == [:])
    #expect(world.client.process.pinnedPages == 0)
  }

  @Test("the shortest argument is accepted, a byte less is not", arguments: commands)
  func short(command: Command) throws {
    let world = try World()
    let bytes = try command.bytes(world)
    let minimum = command.minimum ?? bytes.count
    let before = world.snapshot
    for size in [0, 3, 4, minimum - 1] where size < minimum {
      #expect(try world.call(command.number, Self.sized(bytes, size)) == .EINVAL, "size \(size)")
    }
    #expect(world.snapshot == before)
    // What is behind the shortest form is neither read nor written.
    let shortest =
      Self.sized(bytes, minimum)[..<minimum]
      + [UInt8](repeating: 0xee, count: bytes.count - minimum + 8)
    #expect(try world.call(command.number, Array(shortest)) == command.answer)
    var behind = [UInt8](repeating: 0, count: shortest.count - minimum)
    try world.client.caller.load(into: &behind, at: World.argument + UInt64(minimum))
    #expect(behind.allSatisfy { $0 == 0xee })
  }

  @Test("a longer argument needs a tail of zeros", arguments: commands)
  func long(command: Command) throws {
    let world = try World()
    let bytes = try command.bytes(world)
    let before = world.snapshot
    for tail in [[1], [0, 0, 0, 0, 0, 0, 0, 0, 0x80], [UInt8](repeating: 0, count: 99) + [1]] {
      let argument = Self.sized(bytes, bytes.count + tail.count) + tail
      #expect(try world.call(command.number, argument) == .E2BIG, "tail of \(tail.count)")
    }
    #expect(world.snapshot == before)
    let zeros = [UInt8](repeating: 0, count: 101)
    let argument = Self.sized(bytes, bytes.count + zeros.count) + zeros
    #expect(try world.call(command.number, argument) == command.answer)
  }

  @Test("an argument that cannot be read is a fault", arguments: commands)
  func unreadable(command: Command) throws {
    let world = try World()
    let bytes = try command.bytes(world)
    let before = world.snapshot
    let client = world.client
    for address in [0, 0x6f00_0000, World.argument + World.argumentBytes - 3] as [UInt64] {
      let refusal = client.errno { () throws(Refusal) in
        _ = try client.file.ioctl(0x3b00 | command.number, address, caller: client.caller)
      }
      #expect(refusal == .EFAULT, "\(address)")
    }
    // The argument is cut off, or its tail of zeros is.
    let room = World.argumentBytes
    let count = UInt64(bytes.count)
    #expect(
      try world.call(command.number, Array(bytes.dropLast()), at: room - count + 1) == .EFAULT)
    #expect(
      try world.call(command.number, Self.sized(bytes, bytes.count + 8), at: room - count)
        == .EFAULT)
    // A byte that is not zero counts before the fault behind it.
    let tail = Self.sized(bytes, bytes.count + 8) + [1]
    #expect(try world.call(command.number, tail, at: room - count - 1) == .E2BIG)
    #expect(world.snapshot == before)
    #expect(try world.call(command.number, bytes, at: room - count) == command.answer)
  }

  @Test("an answer that cannot be written is a fault", arguments: commands)
  func unwritable(command: Command) throws {
    let world = try World()
    let bytes = try command.bytes(world)
    let before = world.snapshot
    let census = world.client.leftovers
    let pinned = world.client.process.pinnedPages
    let answer = try world.call(command.number, bytes, isWritable: false)

    let twin = try World()
    #expect(try twin.call(command.number, try command.bytes(twin)) == command.answer)
    switch command.effect {
    case .noAnswer:
      #expect(answer == command.answer)
      #expect(world.snapshot == twin.snapshot)
    case .onlyReads, .undone:
      #expect(answer == .EFAULT)
      #expect(world.snapshot == before)
      #expect(world.client.leftovers == census)
      #expect(world.client.process.pinnedPages == pinned)
      if command.effect == .undone { #expect(twin.snapshot != before) }
    case .stays:
      #expect(answer == .EFAULT)
      #expect(twin.snapshot != before)
      #expect(world.snapshot == twin.snapshot)
      #expect(world.client.process.pinnedPages == twin.client.process.pinnedPages)
    }
    try world.close()
    #expect(world.client.leftovers == [:])
    #expect(world.client.process.pinnedPages == 0)
  }

  @Test func numbersWithoutACommandReadTheirSizeFirst() throws {
    let world = try World()
    for number in 0x96...0x9f as ClosedRange<UInt32> {
      #expect(try world.call(number, littleEndian(UInt32(8)) + [0, 0, 0, 0]) == .ENOTTY)
      let client = world.client
      let refusal = client.errno { () throws(Refusal) in
        _ = try client.file.ioctl(0x3b00 | number, 0x6f00_0000, caller: client.caller)
      }
      #expect(refusal == .EFAULT)
    }
    for number in [0x7f, 0xa1] as [UInt32] {
      let client = world.client
      let refusal = client.errno { () throws(Refusal) in
        _ = try client.file.ioctl(0x3b00 | number, 0x6f00_0000, caller: client.caller)
      }
      #expect(refusal == .ENOTTY)
    }
  }

  @Test func aRequestOfAnotherTypeOrWithDirectionIsNoCommand() throws {
    let world = try World()
    let client = world.client
    try client.caller.store(
      littleEndian(UInt32(12)) + [0, 0, 0, 0, 0, 0, 0, 0], at: World.argument)
    for request in [0x3a81, 0x0081, 0x4000_3b81, 0x800c_3b81] as [UInt32] {
      let refusal = client.errno { () throws(Refusal) in
        _ = try client.file.ioctl(request, World.argument, caller: client.caller)
      }
      #expect(refusal == .ENOTTY, "\(request)")
    }
  }
}
