import CKernelABI
import Clients
import IOMMUFD
import TestSupport
import Testing

@Suite("Lifetimes of objects")
struct LifetimeTests {
  let client: Client
  let nesting: Nesting

  init() throws {
    client = try Client()
    nesting = try Nesting(client)
  }

  private func destroy(_ id: UInt32) -> Errno? {
    client.errno { () throws(Refusal) in try client.destroy(id) }
  }

  @Test func aSpaceIsBusyWithTablesAndAccessesButNotWithMappings() throws {
    let space = try client.makeSpace()
    try client.map(space, Client.buffer, 0x1000, at: 16 << 20)
    let access = try client.makeAccess(space)
    #expect(destroy(space) == .EBUSY)
    client.close(access)
    let table = try client.makeTable(nesting.device, space)
    #expect(destroy(space) == .EBUSY)
    #expect(client.process.pinnedPages == 1)
    #expect(destroy(table) == nil)
    #expect(client.process.pinnedPages == 0)
    #expect(destroy(space) == nil)
    #expect(destroy(space) == .ENOENT)
  }

  @Test func aTableIsBusyWithDevicesNestedTablesAndVirtualIOMMUs() throws {
    let table = try client.makeTable(
      nesting.device, nesting.space, flags: IOMMU_HWPT_ALLOC_NEST_PARENT)
    try client.replace(nesting.object, table)
    #expect(destroy(table) == .EBUSY)
    let nested = try client.makeNested(nesting.device, table)
    try client.replace(nesting.object, nested)
    #expect(destroy(nested) == .EBUSY)
    #expect(destroy(table) == .EBUSY)
    try client.replace(nesting.object, nesting.space)
    #expect(destroy(nested) == nil)
    #expect(destroy(table) == nil)
    #expect(destroy(nesting.parent) == .EBUSY)
  }

  @Test func aVirtualIOMMUIsBusyWithNamesTablesAndQueues() throws {
    let viommu = nesting.viommu
    #expect(destroy(viommu) == .EBUSY)
    #expect(destroy(nesting.virtualDevice) == nil)
    let nested = try client.makeNested(nesting.device, viommu)
    #expect(destroy(viommu) == .EBUSY)
    #expect(destroy(nested) == nil)
    let queue = try client.makeEventQueue(viommu, depth: 1)
    client.close(queue.descriptor)
    #expect(destroy(viommu) == .EBUSY)
    #expect(destroy(queue.id) == nil)
    try client.map(nesting.space, Client.buffer, 0x1000, at: 16 << 20)
    let hardware = try client.makeHardwareQueue(viommu, index: 0, at: 16 << 20, 0x1000)
    #expect(destroy(viommu) == .EBUSY)
    #expect(destroy(hardware) == nil)
    #expect(destroy(viommu) == nil)
    #expect(destroy(nesting.parent) == nil)
  }

  @Test func aDeviceGoesOnlyWithItsMock() throws {
    #expect(destroy(nesting.device) == .EBUSY)
    #expect(destroy(nesting.object) == nil)
    #expect(destroy(nesting.device) == .ENOENT)
    #expect(destroy(0) == .ENOENT)
    #expect(destroy(.max) == .ENOENT)
  }

  @Test func anAutomaticTableGoesWithItsLastDevice() throws {
    let space = try client.makeSpace()
    let first = try client.makeDevice(on: space)
    let second = try client.makeDevice(on: space)
    #expect(first.table == second.table)
    #expect(destroy(first.table) == .EBUSY)
    try client.destroy(first.object)
    try client.checkMapIsEmpty(second.table)
    try client.replace(second.object, nesting.parent)
    #expect(destroy(first.table) == .ENOENT)
    #expect(destroy(space) == nil)
  }

  @Test func numbersAreReusedFromTheLowest() throws {
    let spaces = try (0..<6).map { _ in try client.makeSpace() }
    for index in [4, 1, 3] { try client.destroy(spaces[index]) }
    #expect(try client.makeSpace() == spaces[1])
    let device = try client.makeDevice(on: spaces[0])
    #expect(device == (spaces[3], spaces[5] + 1, spaces[4]))
    try client.destroy(device.object)
    #expect(try client.makeFaultQueue().id == spaces[3])
    #expect(try client.makeVirtualIOMMU(nesting.device, nesting.parent) == spaces[4])
  }

  @Test func aFailedAllocationGivesItsNumberBack() throws {
    let next = try client.makeSpace()
    try client.destroy(next)
    try client.map(nesting.space, Client.buffer, 0x1000, at: 16 << 20)
    let before = client.file.context.snapshot
    let refusals: [Errno?] = [
      client.errno { () throws(Refusal) in _ = try client.makeDevice(on: 999) },
      client.errno { () throws(Refusal) in _ = try client.makeTable(nesting.device, 999) },
      client.errno { () throws(Refusal) in _ = try client.makeAccess(999) },
      client.errno { () throws(Refusal) in
        _ = try client.makeHardwareQueue(nesting.viommu, index: 1, at: 16 << 20, 0x1000)
      },
      client.errno { () throws(Refusal) in
        _ = try client.makeVirtualDevice(nesting.viommu, nesting.device, named: 1)
      },
      client.errno { () throws(Refusal) in
        _ = try client.makeNested(nesting.device, nesting.viommu, faults: 999)
      },
    ]
    #expect(refusals == [.ENOENT, .EINVAL, .ENOENT, .EIO, .EEXIST, .ENOENT])
    #expect(client.file.context.snapshot == before)
    #expect(try client.makeSpace() == next)
  }

  @Test func aNameOutlivedByItsPlaceLeavesATombstone() throws {
    let id = nesting.virtualDevice
    #expect(destroy(nesting.object) == nil)
    #expect(destroy(id) == .ENOENT)
    // Its number stays taken, its name is free, and the virtual IOMMU has lost a user.
    var ids: [UInt32] = []
    for _ in 0..<8 { ids.append(try client.makeSpace()) }
    #expect(!ids.contains(id))
    let device = try client.makeDevice(on: nesting.space)
    let again = try client.makeVirtualDevice(nesting.viommu, device.device, named: 0x99)
    #expect(destroy(again) == nil)
    #expect(destroy(nesting.viommu) == nil)
    client.close()
    #expect(client.leftovers == [:])
  }

  @Test func aNameDestroyedInTimeLeavesNone() throws {
    #expect(destroy(nesting.virtualDevice) == nil)
    #expect(destroy(nesting.object) == nil)
    var ids: [UInt32] = []
    for _ in 0..<8 { ids.append(try client.makeSpace()) }
    #expect(ids.contains(nesting.virtualDevice))
  }

  @Test func aTombstoneCountsAsAnObject() throws {
    client.process.capabilities = [.administerResources]
    #expect(destroy(nesting.object) == nil)
    for id in [nesting.viommu, nesting.parent, nesting.space] { try client.destroy(id) }
    #expect(
      client.errno { () throws(Refusal) in
        try client.option(IOMMU_OPTION_RLIMIT_MODE, 0, set: 1)
      } == .EBUSY)
  }

  @Test func namesAreUniqueInAVirtualIOMMUAndPerDevice() throws {
    let device = try client.makeDevice(on: nesting.space)
    func name(_ viommu: UInt32, _ device: UInt32, _ name: UInt64) -> Errno? {
      client.errno { () throws(Refusal) in
        _ = try client.makeVirtualDevice(viommu, device, named: name)
      }
    }
    #expect(name(nesting.viommu, device.device, 0x99) == .EEXIST)
    #expect(name(nesting.viommu, nesting.device, 0x98) == .EEXIST)
    #expect(name(nesting.parent, device.device, 0x98) == .ENOENT)
    #expect(name(nesting.viommu, device.object, 0x98) == .ENOENT)
    let other = try client.makeVirtualIOMMU(nesting.device, nesting.parent)
    #expect(name(other, device.device, 0x99) == nil)
  }

  @Test func theCompatibilitySpaceIsForgottenWithItsObject() throws {
    let space = try client.makeSpace()
    var argument = iommu_vfio_ioas()
    argument.op = IOMMU_VFIO_IOAS_SET
    argument.ioas_id = space
    try client.call(IOMMUFD_CMD_VFIO_IOAS, &argument)
    argument = iommu_vfio_ioas()
    try client.call(IOMMUFD_CMD_VFIO_IOAS, &argument)
    #expect(argument.ioas_id == space)
    try client.destroy(space)
    #expect(
      client.errno { () throws(Refusal) in
        try client.call(IOMMUFD_CMD_VFIO_IOAS, &argument)
      } == .ENODEV)
    #expect(try client.makeSpace() == space)
  }
}

extension Client {
  /// A table that exists translates nothing at the start of the aperture.
  fileprivate func checkMapIsEmpty(_ table: UInt32) throws {
    let refusal = errno { () throws(Refusal) in
      try checkMap(table, MOCK_APERTURE_START, 2048, Client.buffer)
    }
    #expect(refusal == .EINVAL)
  }
}

/// Pages of a virtual IOMMU that a client maps.
@Suite("Pages of virtual IOMMUs")
struct VirtualIOMMUPagesTests {
  let client: Client
  let device: (object: UInt32, table: UInt32, device: UInt32)
  let parent: UInt32
  static var shared: Int32 { 1 }

  init() throws {
    client = try Client()
    let space = try client.makeSpace()
    device = try client.makeDevice(on: space)
    parent = try client.makeTable(
      device.device, space, flags: IOMMU_HWPT_ALLOC_NEST_PARENT)
  }

  private func makeVirtualIOMMU(
    word: UInt32
  ) throws(Refusal) -> (id: UInt32, offset: UInt64, length: UInt64) {
    try client.caller.store(
      littleEndian(word) + [UInt8](repeating: 0xff, count: 20), at: Client.scratch)
    var argument = iommu_viommu_alloc()
    argument.type = IOMMU_VIOMMU_TYPE_SELFTEST
    argument.dev_id = device.device
    argument.hwpt_id = parent
    argument.data_len = 24
    argument.data_uptr = Client.scratch
    try client.call(IOMMUFD_CMD_VIOMMU_ALLOC, &argument)
    #expect(try client.word(Client.scratch + 4) == word)
    return (
      argument.out_viommu_id, try client.word64(Client.scratch + 8),
      try client.word64(Client.scratch + 16)
    )
  }

  private func map(
    _ offset: UInt64, byteCount: UInt64 = 0x2000, protection: Int32 = 3, flags: Int32 = Self.shared
  ) throws(Refusal) -> any SharedPages {
    try client.file.map(
      byteCount: byteCount, protection: protection, flags: flags, offset: offset,
      caller: client.caller)
  }

  @Test func theyShowTheWordOfTheAllocation() throws {
    let viommu = try makeVirtualIOMMU(word: 0xcafe)
    #expect(viommu.offset == 0x1000)
    #expect(viommu.length == 0x2000)
    let pages = try map(viommu.offset)
    #expect(pages.byteCount == 0x2000)
    #expect(unsafe pages.bytes.load(as: UInt32.self) == 0xcafe)
    let second = try makeVirtualIOMMU(word: 1)
    #expect(second.offset == 0x3000)
    #expect(unsafe try map(second.offset).bytes.load(as: UInt32.self) == 1)
  }

  @Test func onlyTheWholeOfThemCanBeMapped() throws {
    let viommu = try makeVirtualIOMMU(word: 1)
    func refusal(
      _ offset: UInt64, _ byteCount: UInt64, protection: Int32 = 3, flags: Int32 = Self.shared
    ) -> Errno? {
      client.errno { () throws(Refusal) in
        _ = try map(offset, byteCount: byteCount, protection: protection, flags: flags)
      }
    }
    #expect(refusal(viommu.offset, 0x1000) == .ENXIO)
    #expect(refusal(viommu.offset, 0x3000) == .ENXIO)
    #expect(refusal(viommu.offset + 0x1000, 0x1000) == .ENXIO)
    #expect(refusal(0, 0x2000) == .ENXIO)
    #expect(refusal(viommu.offset, 0x2000, flags: 2) == .EINVAL)
    #expect(refusal(viommu.offset, 0x2000, protection: 7) == .EPERM)
  }

  @Test func aVirtualIOMMUIsBusyWhileTheyAreMapped() throws {
    let viommu = try makeVirtualIOMMU(word: 1)
    _ = try map(viommu.offset)
    let pages = try #require(client.provider.made.last)
    pages.isMapped = true
    func destroy() -> Errno? {
      client.errno { () throws(Refusal) in try client.destroy(viommu.id) }
    }
    #expect(destroy() == .EBUSY)
    pages.isMapped = false
    #expect(destroy() == nil)
    #expect(client.errno { () throws(Refusal) in _ = try map(viommu.offset) } == .ENXIO)
    #expect(try makeVirtualIOMMU(word: 2).offset == viommu.offset)
  }

  @Test func theLowestOffsetIsTakenAgain() throws {
    let ids = try (0..<3).map { _ in try makeVirtualIOMMU(word: 0) }
    #expect(ids.map(\.offset) == [0x1000, 0x3000, 0x5000])
    try client.destroy(ids[1].id)
    #expect(try makeVirtualIOMMU(word: 0).offset == 0x3000)
    #expect(try makeVirtualIOMMU(word: 0).offset == 0x7000)
  }

  @Test func dataThatCannotBeWrittenUndoesTheAllocation() throws {
    let before = client.file.context.snapshot
    client.process.map(0x6000_0000, byteCount: 0x1000, isWritable: false)
    var argument = iommu_viommu_alloc()
    argument.type = IOMMU_VIOMMU_TYPE_SELFTEST
    argument.dev_id = device.device
    argument.hwpt_id = parent
    argument.data_len = 24
    argument.data_uptr = 0x6000_0000
    let refusal = client.errno { () throws(Refusal) in
      try client.call(IOMMUFD_CMD_VIOMMU_ALLOC, &argument)
    }
    #expect(refusal == .EFAULT)
    #expect(client.file.context.snapshot == before)
    #expect(try makeVirtualIOMMU(word: 0).offset == 0x1000)
  }
}
