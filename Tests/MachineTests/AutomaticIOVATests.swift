import CKernelABI
import Clients
import TestSupport
import Testing

@Suite("Automatic choice of addresses")
struct AutomaticIOVATests {
  let client: Client
  let space: UInt32

  init() throws {
    client = try Client()
    space = try client.makeSpace()
  }

  private func map(_ address: UInt64, _ length: UInt64) -> Outcome {
    Outcome.of { () throws(Refusal) in [try client.map(space, address, length)] }
  }

  @Test func aRangeIsUsedUpToItsEnd() throws {
    try client.allow(space, [0x10000...0x10fff])
    #expect(map(Client.buffer, 0x1001) == .refused(.ENOSPC))
    #expect(map(Client.buffer, 0x1000) == .answered([0x10000]))
    #expect(map(Client.buffer, 1) == .refused(.ENOSPC))
  }

  @Test func theLastByteOfARangeIsNotEnough() throws {
    try client.allow(space, [0x10000...0x10001])
    #expect(map(Client.buffer, 1) == .answered([0x10000]))
    #expect(map(Client.buffer, 1) == .refused(.ENOSPC))
  }

  @Test func rangesThatTouchAreOne() throws {
    try client.allow(space, [0x11000...0x11fff, 0x10000...0x10fff])
    #expect(map(Client.buffer, 0x2000) == .answered([0x10000]))
  }

  @Test func theFirstAndTheLastPageAreNeverChosen() throws {
    try client.allow(space, [0...0x1fff, .max - 0x3000 ... .max])
    #expect(map(Client.buffer, 0x1000) == .answered([0x1000]))
    #expect(map(Client.buffer, 0x1000) == .answered([.max - 0x2fff]))
    #expect(map(Client.buffer, 0x1000) == .answered([.max - 0x1fff]))
    #expect(map(Client.buffer, 0x1000) == .refused(.ENOSPC))
  }

  @Test func alignmentIsThatOfLengthAndMemoryUpToTwoMebibytes() throws {
    #expect(map(0, 0x3000) == .answered([0x4000]))
    #expect(map(Client.buffer + 0x2000, 0x4000) == .answered([0x8000]))
    #expect(map(0x4000_0000, 8 << 20) == .answered([2 << 20]))
    #expect(map(Client.buffer + 0x1000, 0x3000) == .answered([0x1000]))
  }

  @Test func thePageOffsetOfTheMemoryIsPutIn() throws {
    #expect(map(Client.buffer + 0x123, 1) == .answered([0x1123]))
    // The next free byte is 0x1124, and that has some of the bits already.
    #expect(map(Client.buffer + 0x123, 1) == .answered([0x1127]))
    #expect(map(Client.buffer + 0x800, 0x800) == .answered([0x1800]))
  }

  @Test func lengthsEndBelowHalfOfAll() throws {
    #expect(map(Client.buffer, .max / 2) == .refused(.EOVERFLOW))
    #expect(map(Client.buffer, .max / 2 - 1) == .answered([2 << 20]))
    #expect(try client.unmap(space, 0, .max) == .max / 2 - 1)
  }

  @Test func memoryLessAlignedThanTheSpaceIsRefused() throws {
    try client.option(IOMMU_OPTION_HUGE_PAGES, space, set: 0)
    #expect(map(Client.buffer + 0x800, 0x1000) == .refused(.EINVAL))
    #expect(map(Client.buffer + 0x1000, 0x1000) == .answered([0x1000]))
  }
}
