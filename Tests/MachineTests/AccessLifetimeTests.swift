import CKernelABI
import Clients
import IOMMUFD
import TestSupport
import Testing

@Suite("Ends of accesses and hardware queues")
struct AccessLifetimeTests {
  let client: Client
  let start: UInt64 = 16 << 20

  init() throws { client = try Client() }

  private func refusal(_ body: () throws(Refusal) -> Void) -> Errno? { client.errno(body) }

  @Test func anAccessKeepsItsContext() throws {
    let space = try client.makeSpace()
    try client.map(space, Client.buffer, 0x4000, at: start)
    let access = try client.makeAccess(space)
    _ = try client.pin(access, start, 0x2000)
    try { () throws in
      let file = try #require(client.file(access))
      client.close(keeping: access)
      #expect(client.leftovers["contexts"] == 1)
      #expect(client.process.pinnedPages == 2)
      file.release()
    }()
    #expect(client.leftovers == [:])
    #expect(client.process.pinnedPages == 0)
  }

  @Test func anAccessTakesANumberThatCannotBeDestroyed() throws {
    let space = try client.makeSpace()
    let access = try client.makeAccess(space)
    #expect(refusal { () throws(Refusal) in try client.destroy(2) } == .EBUSY)
    #expect(try client.makeSpace() == 3)
    client.close(access)
    #expect(refusal { () throws(Refusal) in try client.destroy(2) } == .ENOENT)
    #expect(try client.makeSpace() == 2)
  }

  @Test func pagesOfAnAccessArePinnedOncePerMapping() throws {
    let space = try client.makeSpace()
    try client.map(space, Client.buffer, 0x4000, at: start)
    let access = try client.makeAccess(space)
    let first = try client.pin(access, start, 0x3000)
    let second = try client.pin(access, start + 0x2000, 0x2000)
    #expect((first, second) == (0, 1))
    try client.checkRefs(Client.buffer, 0x4000, 1)
    #expect(client.process.pinnedPages == 4)
    let device = try client.makeDevice(on: space)
    try client.checkRefs(Client.buffer, 0x4000, 1)
    try client.unpin(access, first)
    #expect(client.process.pinnedPages == 4)
    try client.destroy(device.object)
    try client.checkRefs(Client.buffer, 0x2000, 0)
    try client.checkRefs(Client.buffer + 0x2000, 0x2000, 1)
    #expect(refusal { () throws(Refusal) in try client.unpin(access, first) } == .ENOENT)
    client.close(access)
    try client.checkRefs(Client.buffer, 0x4000, 0)
    #expect(client.process.pinnedPages == 0)
  }

  @Test func unmappingTakesPagesFromAnAccess() throws {
    let space = try client.makeSpace()
    try client.map(space, Client.buffer, 0x2000, at: start)
    try client.map(space, Client.buffer + 0x8000, 0x2000, at: start + 0x2000)
    let access = try client.makeAccess(space)
    let pinnings = [
      try client.pin(access, start, 0x1000), try client.pin(access, start + 0x1000, 0x2000),
      try client.pin(access, start + 0x3000, 0x1000),
    ]
    #expect(try client.unmap(space, start, 0x2000) == 0x2000)
    #expect(client.process.pinnedPages == 1)
    #expect(refusal { () throws(Refusal) in try client.unpin(access, pinnings[0]) } == .ENOENT)
    #expect(refusal { () throws(Refusal) in try client.unpin(access, pinnings[1]) } == .ENOENT)
    try client.unpin(access, pinnings[2])
    #expect(client.process.pinnedPages == 0)
  }

  @Test func anotherSpaceEndsThePinnings() throws {
    let spaces = [try client.makeSpace(), try client.makeSpace()]
    try client.map(spaces[0], Client.buffer, 0x2000, at: start)
    let access = try client.makeAccess(spaces[0])
    _ = try client.pin(access, start, 0x2000)
    try client.test(IOMMU_TEST_OP_ACCESS_REPLACE_IOAS, access) {
      unsafe $0.access_replace_ioas.ioas_id = spaces[1]
    }
    #expect(client.process.pinnedPages == 0)
    try client.destroy(spaces[0])
    #expect(refusal { () throws(Refusal) in try client.destroy(spaces[1]) } == .EBUSY)
    #expect(
      refusal { () throws(Refusal) in _ = try client.pin(access, start, 0x1000) } == .ENOENT)
  }

  @Test func aSpaceWithUnalignedMappingsTakesNoPinningAccess() throws {
    let space = try client.makeSpace()
    try client.map(space, Client.buffer, 0x123, at: start)
    #expect(refusal { () throws(Refusal) in _ = try client.makeAccess(space) } == .EADDRINUSE)
    #expect(try client.ranges(space).alignment == 1)
    let access = try client.makeAccess(space, canPin: false)
    #expect(
      refusal { () throws(Refusal) in _ = try client.pin(access, start, 1) } == .EOPNOTSUPP)
    try client.unmap(space, 0, .max)
    let pinning = try client.makeAccess(space)
    #expect(try client.ranges(space).alignment == 4096)
    client.close(pinning)
    #expect(try client.ranges(space).alignment == 1)
    client.close(access)
  }

  @Test func aHardwareQueueForbidsUnmapping() throws {
    let nesting = try Nesting(client)
    try client.map(nesting.space, Client.buffer, 0x1000, at: start)
    try client.map(nesting.space, Client.buffer + 0x1000, 0x1000, at: start + 0x1000)
    let queue = try client.makeHardwareQueue(
      nesting.viommu, index: 0, at: start + 0x1000, 0x800)
    func unmap(_ iova: UInt64, _ length: UInt64) -> Errno? {
      refusal { () throws(Refusal) in try client.unmap(nesting.space, iova, length) }
    }
    #expect(unmap(start + 0x1000, 0x1000) == .EBUSY)
    // What comes first is removed nevertheless.
    #expect(unmap(0, .max) == .EBUSY)
    #expect(client.process.pinnedPages == 1)
    #expect(unmap(start, 0x1000) == .ENOENT)
    try client.destroy(queue)
    #expect(try client.unmap(nesting.space, start + 0x1000, 0x1000) == 0x1000)
    #expect(client.process.pinnedPages == 0)
  }

  @Test func hardwareQueuesComeInOrderAndGoInReverse() throws {
    let nesting = try Nesting(client)
    try client.map(nesting.space, Client.buffer, 0x2000, at: start)
    func make(_ index: UInt32) throws(Refusal) -> UInt32 {
      try client.makeHardwareQueue(nesting.viommu, index: index, at: start, 0x1000)
    }
    #expect(refusal { () throws(Refusal) in _ = try make(1) } == .EIO)
    #expect(refusal { () throws(Refusal) in _ = try make(2) } == .EINVAL)
    let queues = [try make(0), try make(1)]
    // Each has a hidden access with the next number.
    #expect(queues[1] == queues[0] + 2)
    #expect(refusal { () throws(Refusal) in try client.destroy(queues[0] + 1) } == .EBUSY)
    #expect(refusal { () throws(Refusal) in _ = try make(0) } == .EEXIST)
    #expect(refusal { () throws(Refusal) in try client.destroy(queues[0]) } == .EBUSY)
    try client.destroy(queues[1])
    try client.destroy(queues[0])
    #expect(try make(0) == queues[0])
    client.close()
    #expect(client.leftovers == [:])
  }

  @Test func aHardwareQueueNeedsReadableContiguousMemory() throws {
    let nesting = try Nesting(client)
    let before = client.file.context.snapshot
    func refusal(_ iova: UInt64, _ length: UInt64) -> Errno? {
      client.errno { () throws(Refusal) in
        _ = try client.makeHardwareQueue(nesting.viommu, index: 0, at: iova, length)
      }
    }
    #expect(refusal(start, 0x1000) == .ENOENT)
    #expect(refusal(start, 0) == .EINVAL)
    #expect(refusal(.max, 0x1000) == .EOVERFLOW)
    #expect(client.file.context.snapshot == before)
    try client.map(nesting.space, Client.buffer, 0x1000, at: start)
    try client.map(nesting.space, Client.buffer, 0x1000, at: start + 0x1000)
    try client.map(
      nesting.space, Client.buffer, 0x1000, at: start + 0x2000, flags: IOMMU_IOAS_MAP_WRITEABLE)
    let mapped = client.file.context.snapshot
    #expect(refusal(start, 0x2000) == .EFAULT)
    #expect(refusal(start + 0x2000, 0x1000) == .EPERM)
    #expect(refusal(start + 0x2800, 0x1000) == .EPERM)
    #expect(client.file.context.snapshot == mapped)
    #expect(refusal(start + 0x100, 0x100) == nil)
  }
}

@Suite("PASIDs")
struct PASIDTests {
  let client: Client
  let space: UInt32
  let device: (object: UInt32, table: UInt32, device: UInt32)
  let tables: [UInt32]
  let nested: UInt32
  let plain: UInt32

  init() throws {
    client = try Client()
    space = try client.makeSpace()
    device = try client.makeDevice(on: space, flags: MOCK_FLAGS_DEVICE_PASID)
    let (client, space, id) = (client, space, device.device)
    tables = try (0..<2).map { _ in
      try client.makeTable(id, space, flags: IOMMU_HWPT_ALLOC_PASID)
    }
    plain = try client.makeTable(id, space, flags: IOMMU_HWPT_ALLOC_NEST_PARENT)
    nested = try client.makeNested(id, plain, flags: IOMMU_HWPT_ALLOC_PASID)
    try client.replace(device.object, tables[0])
  }

  private func refusal(_ body: () throws(Refusal) -> Void) -> Errno? { client.errno(body) }
  private func attach(_ pasid: UInt32, _ table: UInt32) -> Errno? {
    refusal { () throws(Refusal) in try client.attach(device.object, pasid: pasid, table) }
  }
  private func replace(_ pasid: UInt32, _ table: UInt32) -> Errno? {
    refusal { () throws(Refusal) in try client.replace(device.object, pasid: pasid, table) }
  }
  private func check(_ pasid: UInt32, _ table: UInt32) -> Errno? {
    refusal { () throws(Refusal) in try client.check(device.object, pasid: pasid, isOn: table) }
  }

  @Test func aPASIDIsAttachedOnce() throws {
    #expect(check(100, 0) == nil)
    #expect(attach(100, tables[1]) == nil)
    #expect(check(100, tables[1]) == nil)
    #expect(check(100, tables[0]) == .EINVAL)
    #expect(check(100, 0) == .EINVAL)
    #expect(attach(100, nested) == .EBUSY)
    #expect(attach(100, tables[1]) == .EBUSY)
    try client.detach(device.object, pasid: 100)
    #expect(check(100, 0) == nil)
    try client.detach(device.object, pasid: 100)
    #expect(attach(100, nested) == nil)
  }

  @Test func aPASIDNeedsTablesMadeForPASIDs() throws {
    let before = client.file.context.snapshot
    #expect(attach(100, plain) == .EINVAL)
    #expect(attach(100, space) == .EINVAL)
    #expect(attach(100, 999) == .ENOENT)
    #expect(client.file.context.snapshot == before)
    #expect(attach(100, nested) == nil)
    // While a PASID is attached, so must be the device's own table.
    #expect(
      refusal { () throws(Refusal) in try client.replace(device.object, plain) } == .EINVAL)
    try client.replace(device.object, tables[1])
    try client.detach(device.object, pasid: 100)
    try client.replace(device.object, plain)
    #expect(attach(100, tables[0]) == .EINVAL)
  }

  @Test func aPASIDIsSmallerThanTheWidthOfTheDevice() throws {
    #expect(attach(1 << MOCK_PASID_WIDTH, tables[0]) == .EINVAL)
    #expect(attach(1 << MOCK_PASID_WIDTH - 1, tables[0]) == nil)
  }

  @Test func replacingNeedsAnAttachmentAndKeepsItOnFailure() throws {
    #expect(replace(200, tables[1]) == .EINVAL)
    #expect(attach(200, tables[1]) == nil)
    #expect(replace(200, space) == .EINVAL)
    #expect(replace(200, plain) == .EINVAL)
    #expect(check(200, tables[1]) == nil)
    #expect(replace(200, nested) == nil)
    #expect(check(200, nested) == nil)
    #expect(replace(200, nested) == nil)
    try client.destroy(tables[1])
    #expect(refusal { () throws(Refusal) in try client.destroy(nested) } == .EBUSY)
    try client.detach(device.object, pasid: 200)
    try client.destroy(nested)
  }

  @Test func everySecondChangeOfPASID1024Fails() throws {
    let pasid = IOMMU_TEST_PASID_RESERVED
    #expect(attach(pasid, tables[1]) == nil)
    #expect(replace(pasid, nested) == .ENOMEM)
    #expect(check(pasid, tables[1]) == nil)
    #expect(replace(pasid, nested) == nil)
    #expect(check(pasid, nested) == nil)
    #expect(replace(pasid, tables[1]) == .ENOMEM)
    #expect(check(pasid, nested) == nil)
    // Detaching resets the rule.
    #expect(replace(pasid, tables[1]) == nil)
    try client.detach(device.object, pasid: pasid)
    #expect(check(pasid, 0) == nil)
    #expect(attach(pasid, nested) == nil)
    try client.detach(device.object, pasid: pasid)
    #expect(attach(pasid, nested) == nil)
    #expect(replace(pasid, tables[1]) == .ENOMEM)
    try client.detach(device.object, pasid: pasid)
  }

  @Test func pasidZeroIsTheDeviceItself() throws {
    try client.replace(device.object, tables[1])
    #expect(refusal { () throws(Refusal) in try client.destroy(tables[1]) } == .EBUSY)
    try client.detach(device.object, pasid: 0)
    try client.destroy(tables[1])
    #expect(attach(0, tables[0]) == nil)
    #expect(refusal { () throws(Refusal) in try client.destroy(tables[0]) } == .EBUSY)
    try client.destroy(device.object)
    try client.destroy(tables[0])
  }

  @Test func attachedPASIDsEndWithTheContext() throws {
    for pasid in 1...20 as ClosedRange<UInt32> { #expect(attach(pasid, nested) == nil) }
    try client.map(space, Client.buffer, 0x4000)
    for pasid in 1...20 as ClosedRange<UInt32> {
      try client.detach(device.object, pasid: pasid)
    }
    client.close()
    #expect(client.leftovers == [:])
  }
}
