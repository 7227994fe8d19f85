internal import CKernelABI
internal import Clients
internal import Hardware
internal import IOMMUCore
internal import IOMMUFD
internal import Mock

extension TestCommand {
  /// IOMMU_TEST_OP_MD_CHECK_MAP: whether each IOVA leads to the page that a user address stands
  /// for.
  @Sendable static func checkTranslations(
    _ argument: inout iommu_test_cmd, _ call: Call
  ) throws(Refusal) -> Int64 {
    let wanted = unsafe argument.arguments.check_map
    let domain = try mockDomain(argument.id, call)
    let step: UInt64 = domain.pageSizes & (~domain.pageSizes &+ 1)
    guard (wanted.iova | wanted.length | wanted.uptr) % step == 0,
      !wanted.uptr.addingReportingOverflow(wanted.length).overflow
    else { throw Refusal(.EINVAL, because: "the range is not aligned to the smallest leaf") }
    var done: UInt64 = 0
    while done < wanted.length {
      let address = wanted.uptr + done
      guard let physical = try physicalAddress(of: address, call),
        domain.physicalAddress(of: IOVirtualAddress(wanted.iova &+ done)) == physical
      else { throw Refusal(.EINVAL, because: "the IOVA leads to another page, or to none") }
      done += step
    }
    return 0
  }

  /// IOMMU_TEST_OP_MD_CHECK_REFS: whether each page is pinned so many times.
  @Sendable static func checkPins(
    _ argument: inout iommu_test_cmd, _ call: Call
  ) throws(Refusal) -> Int64 {
    let wanted = unsafe argument.arguments.check_refs
    guard wanted.length % pageBytes == 0, wanted.uptr % pageBytes == 0,
      !wanted.uptr.addingReportingOverflow(wanted.length).overflow
    else { throw Refusal(.EINVAL, because: "the range is not whole pages") }
    var done: UInt64 = 0
    while done < wanted.length {
      let extent = try extent(of: wanted.uptr + done, call)
      guard extent.source.pinCount(page: extent.offset >> pageShift) == wanted.refs else {
        throw Refusal(.EIO, because: "a page is not pinned that many times")
      }
      done += pageBytes
    }
    return 0
  }

  /// IOMMU_TEST_OP_MD_CHECK_IOTLB: what a word of a nested domain's cache holds.
  @Sendable static func checkNestedCache(
    _ argument: inout iommu_test_cmd, _ call: Call
  ) throws(Refusal) -> Int64 {
    let wanted = unsafe argument.arguments.check_iotlb
    let table: NestedPageTable = try call.context.object(argument.id)
    guard let domain = table.domain as? MockNestedDomain,
      wanted.id <= MOCK_NESTED_DOMAIN_IOTLB_ID_MAX, domain.iotlb[Int(wanted.id)] == wanted.iotlb
    else { throw Refusal(.EINVAL, because: "the cache holds another word") }
    return 0
  }

  /// IOMMU_TEST_OP_DEV_CHECK_CACHE: what a word of a device's cache holds.
  @Sendable static func checkDeviceCache(
    _ argument: inout iommu_test_cmd, _ call: Call
  ) throws(Refusal) -> Int64 {
    let wanted = unsafe argument.arguments.check_dev_cache
    let bound: BoundDevice = try call.context.object(argument.id)
    guard let device = bound.device as? MockDevice, wanted.id <= MOCK_DEV_CACHE_ID_MAX,
      device.cache[Int(wanted.id)] == wanted.cache
    else { throw Refusal(.EINVAL, because: "the cache holds another word") }
    return 0
  }

  /// IOMMU_TEST_OP_DIRTY: a device writes to the pages whose bits are set.
  @Sendable static func writeAsDevice(
    _ argument: inout iommu_test_cmd, _ call: Call
  ) throws(Refusal) -> Int64 {
    let wanted = unsafe argument.arguments.dirty
    guard wanted.page_size > 0, wanted.length > 0, wanted.iova % wanted.page_size == 0,
      wanted.length % wanted.page_size == 0, wanted.uptr != 0
    else { throw Refusal(.EINVAL, because: "the range is not whole pages, or has no bitmap") }
    let pages = wanted.length / wanted.page_size
    guard pages <= 16 << 20 * 8 else {
      throw Refusal(.EOVERFLOW, because: "the bitmap is larger than 16 MiB")
    }
    let domain = try mockDomain(argument.id, call)
    guard domain.isTrackingDirty, domain.hasDirtyTracking else {
      throw Refusal(.EINVAL, because: "the page table does not track writes")
    }
    try call.context.failures.step()
    var bitmap = [UInt8](repeating: 0, count: Int((pages + 7) / 8))
    try call.caller.load(into: &bitmap, at: wanted.uptr)
    var count: UInt64 = 0
    for page in 0..<pages where bitmap[Int(page / 8)] & 1 << UInt8(page % 8) != 0 {
      domain.setDirty(IOVirtualAddress(wanted.iova &+ page * wanted.page_size))
      count += 1
    }
    unsafe argument.arguments.dirty.out_nr_dirty = count
    try call.respond(argument)
    return 0
  }

  private static func mockDomain(_ id: UInt32, _ call: Call) throws(Refusal) -> MockPagingDomain {
    let table: PagingPageTable = try call.context.object(id)
    guard let domain = table.domain as? MockPagingDomain else {
      throw Refusal(.EINVAL, because: "the page table is none of the mock unit")
    }
    return domain
  }

  /// What stands behind one address of the caller.
  static func extent(of address: UInt64, _ call: Call) throws(Refusal) -> SourceExtent {
    var found: SourceExtent?
    do throws(MemoryFault) {
      try call.caller.process.resolve(
        address & ~(pageBytes - 1), byteCount: pageBytes, writable: false
      ) { found = $0 }
    } catch {
      throw Refusal(.EFAULT, because: "the caller has no memory there")
    }
    guard let found else { preconditionFailure("a page lies nowhere") }
    return found
  }

  /// The physical address of one address of the caller, or nil while nothing pins it.
  static func physicalAddress(
    of address: UInt64, _ call: Call
  ) throws(Refusal) -> PhysicalAddress? {
    let extent = try extent(of: address, call)
    guard extent.source.pinCount(page: extent.offset >> pageShift) > 0 else { return nil }
    return extent.source.physicalAddress(ofByte: extent.offset + address % pageBytes)
  }
}
