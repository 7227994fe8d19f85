import CKernelABI
import Clients
import TestSupport

/// Stands in for a file whose release is the test's business.
private final class ClosedFile: MachineFile {
  let name = "closed"
  let status = FileStatus(mode: 0)
  func release() {}
}

/// The commands as a client would wrap them; each throws what the kernel refused.
extension Client {
  /// Where data goes that an argument points to.
  static var scratch: UInt64 { 0x7000_4000 }

  typealias TestArguments = iommu_test_arguments

  /// One operation of the mock's command; `fill` sets its arguments, the answer comes back.
  @discardableResult
  func test(
    _ operation: UInt32, _ id: UInt32 = 0, _ fill: (inout TestArguments) -> Void = { _ in }
  ) throws(Refusal) -> TestArguments {
    var argument = iommu_test_cmd()
    argument.op = operation
    argument.id = id
    fill(&argument.arguments)
    try call(IOMMUFD_CMD_TEST, &argument)
    return argument.arguments
  }

  func file(_ number: UInt32) -> (any MachineFile)? {
    guard case .machine(let file)? = caller.descriptors[Int32(bitPattern: number)] else {
      return nil
    }
    return file
  }

  func close(_ number: UInt32) { caller.close(Int32(bitPattern: number)) }

  /// Closes the context's file and every other one, but for some that the test releases itself.
  func close(keeping numbers: UInt32...) {
    for number in numbers {
      caller.descriptors[Int32(bitPattern: number)] = .machine(ClosedFile())
    }
    close()
  }

  // MARK: address spaces

  @discardableResult
  func copy(
    _ source: UInt32, _ sourceIOVA: UInt64, _ length: UInt64, to target: UInt32,
    at iova: UInt64? = nil, flags: UInt32 = 6
  ) throws(Refusal) -> UInt64 {
    var argument = iommu_ioas_copy()
    argument.flags = flags | (iova == nil ? 0 : IOMMU_IOAS_MAP_FIXED_IOVA)
    argument.src_ioas_id = source
    argument.dst_ioas_id = target
    argument.length = length
    argument.src_iova = sourceIOVA
    argument.dst_iova = iova ?? 0
    try call(IOMMUFD_CMD_IOAS_COPY, &argument)
    return argument.dst_iova
  }

  @discardableResult
  func mapFile(
    _ space: UInt32, _ descriptor: Int32, _ start: UInt64, _ length: UInt64,
    at iova: UInt64? = nil, flags: UInt32 = 6
  ) throws(Refusal) -> UInt64 {
    var argument = iommu_ioas_map_file()
    argument.flags = flags | (iova == nil ? 0 : IOMMU_IOAS_MAP_FIXED_IOVA)
    argument.ioas_id = space
    argument.fd = descriptor
    argument.start = start
    argument.length = length
    argument.iova = iova ?? 0
    try call(IOMMUFD_CMD_IOAS_MAP_FILE, &argument)
    return argument.iova
  }

  func allow(_ space: UInt32, _ ranges: [ClosedRange<UInt64>]) throws(Refusal) {
    var bytes: [UInt8] = []
    for range in ranges { bytes += littleEndian(range.lowerBound) + littleEndian(range.upperBound) }
    try allow(space, words: bytes)
  }

  /// The ranges as bytes, for those that are not ranges.
  func allow(_ space: UInt32, words: [UInt8]) throws(Refusal) {
    try caller.store(words, at: Self.scratch)
    var argument = iommu_ioas_allow_iovas()
    argument.ioas_id = space
    argument.num_iovas = UInt32(words.count / 16)
    argument.allowed_iovas = Self.scratch
    try call(IOMMUFD_CMD_IOAS_ALLOW_IOVAS, &argument)
  }

  func ranges(
    _ space: UInt32
  ) throws(Refusal) -> (ranges: [ClosedRange<UInt64>], alignment: UInt64) {
    var argument = iommu_ioas_iova_ranges()
    argument.ioas_id = space
    argument.num_iovas = 64
    argument.allowed_iovas = Self.scratch
    try call(IOMMUFD_CMD_IOAS_IOVA_RANGES, &argument)
    var ranges: [ClosedRange<UInt64>] = []
    for index in 0..<UInt64(argument.num_iovas) {
      let start = try word64(Self.scratch + 16 * index)
      ranges.append(start...(try word64(Self.scratch + 16 * index + 8)))
    }
    return (ranges, argument.out_iova_alignment)
  }

  @discardableResult
  func option(
    _ option: UInt32, _ object: UInt32, set value: UInt64? = nil
  ) throws(Refusal) -> UInt64 {
    var argument = iommu_option()
    argument.option_id = option
    argument.op = value == nil ? IOMMU_OPTION_OP_GET : IOMMU_OPTION_OP_SET
    argument.object_id = object
    argument.val64 = value ?? 0
    try call(IOMMUFD_CMD_OPTION, &argument)
    return argument.val64
  }

  func reserve(_ space: UInt32, _ start: UInt64, _ length: UInt64) throws(Refusal) {
    try test(IOMMU_TEST_OP_ADD_RESERVED, space) {
      unsafe $0.add_reserved = iommu_test_add_reserved(start: start, length: length)
    }
  }

  // MARK: devices and tables

  func makeDevice(
    on table: UInt32, flags: UInt32
  ) throws(Refusal) -> (object: UInt32, table: UInt32, device: UInt32) {
    let answer = try test(IOMMU_TEST_OP_MOCK_DOMAIN_FLAGS, table) {
      unsafe $0.mock_domain_flags.dev_flags = flags
    }
    let ids = unsafe answer.mock_domain_flags
    return (ids.out_stdev_id, ids.out_hwpt_id, ids.out_idev_id)
  }

  /// Moves a device to another table; the table it got.
  @discardableResult
  func replace(_ object: UInt32, _ table: UInt32) throws(Refusal) -> UInt32 {
    let answer = try test(IOMMU_TEST_OP_MOCK_DOMAIN_REPLACE, object) {
      unsafe $0.mock_domain_replace.pt_id = table
    }
    return unsafe answer.mock_domain_replace.pt_id
  }

  func makeTable(
    _ device: UInt32, _ space: UInt32, flags: UInt32 = 0
  ) throws(Refusal) -> UInt32 {
    var argument = iommu_hwpt_alloc()
    argument.dev_id = device
    argument.pt_id = space
    argument.flags = flags
    try call(IOMMUFD_CMD_HWPT_ALLOC, &argument)
    return argument.out_hwpt_id
  }

  /// A nested table, over a parent or a virtual IOMMU.
  func makeNested(
    _ device: UInt32, _ parent: UInt32, flags: UInt32 = 0, faults: UInt32? = nil
  ) throws(Refusal) -> UInt32 {
    try caller.store(littleEndian(IOMMU_TEST_IOTLB_DEFAULT) + [0, 0, 0, 0], at: Self.scratch)
    var argument = iommu_hwpt_alloc()
    argument.dev_id = device
    argument.pt_id = parent
    argument.flags = flags | (faults == nil ? 0 : IOMMU_HWPT_FAULT_ID_VALID)
    argument.data_type = IOMMU_HWPT_DATA_SELFTEST
    argument.data_len = 8
    argument.data_uptr = Self.scratch
    argument.fault_id = faults ?? 0
    try call(IOMMUFD_CMD_HWPT_ALLOC, &argument)
    return argument.out_hwpt_id
  }

  func attach(_ object: UInt32, pasid: UInt32, _ table: UInt32) throws(Refusal) {
    try test(IOMMU_TEST_OP_PASID_ATTACH, object) {
      unsafe $0.pasid_attach = iommu_test_pasid_attach(pasid: pasid, pt_id: table)
    }
  }

  func replace(_ object: UInt32, pasid: UInt32, _ table: UInt32) throws(Refusal) {
    try test(IOMMU_TEST_OP_PASID_REPLACE, object) {
      unsafe $0.pasid_replace = iommu_test_pasid_replace(pasid: pasid, pt_id: table)
    }
  }

  func detach(_ object: UInt32, pasid: UInt32) throws(Refusal) {
    try test(IOMMU_TEST_OP_PASID_DETACH, object) { unsafe $0.pasid_detach.pasid = pasid }
  }

  /// Refused unless the PASID is attached to this table; 0 stands for none.
  func check(_ object: UInt32, pasid: UInt32, isOn table: UInt32) throws(Refusal) {
    try test(IOMMU_TEST_OP_PASID_CHECK_HWPT, object) {
      unsafe $0.pasid_check = iommu_test_pasid_check(pasid: pasid, hwpt_id: table)
    }
  }

  // MARK: virtual IOMMUs and queues

  func makeVirtualIOMMU(_ device: UInt32, _ parent: UInt32) throws(Refusal) -> UInt32 {
    var argument = iommu_viommu_alloc()
    argument.type = IOMMU_VIOMMU_TYPE_SELFTEST
    argument.dev_id = device
    argument.hwpt_id = parent
    try call(IOMMUFD_CMD_VIOMMU_ALLOC, &argument)
    return argument.out_viommu_id
  }

  func makeVirtualDevice(
    _ viommu: UInt32, _ device: UInt32, named name: UInt64
  ) throws(Refusal) -> UInt32 {
    var argument = iommu_vdevice_alloc()
    argument.viommu_id = viommu
    argument.dev_id = device
    argument.virt_id = name
    try call(IOMMUFD_CMD_VDEVICE_ALLOC, &argument)
    return argument.out_vdevice_id
  }

  func makeEventQueue(
    _ viommu: UInt32, depth: UInt32
  ) throws(Refusal) -> (id: UInt32, descriptor: UInt32) {
    var argument = iommu_veventq_alloc()
    argument.viommu_id = viommu
    argument.type = IOMMU_VEVENTQ_TYPE_SELFTEST
    argument.veventq_depth = depth
    try call(IOMMUFD_CMD_VEVENTQ_ALLOC, &argument)
    return (argument.out_veventq_id, argument.out_veventq_fd)
  }

  func makeFaultQueue() throws(Refusal) -> (id: UInt32, descriptor: UInt32) {
    var argument = iommu_fault_alloc()
    try call(IOMMUFD_CMD_FAULT_QUEUE_ALLOC, &argument)
    return (argument.out_fault_id, argument.out_fault_fd)
  }

  func makeHardwareQueue(
    _ viommu: UInt32, index: UInt32, at iova: UInt64, _ length: UInt64
  ) throws(Refusal) -> UInt32 {
    var argument = iommu_hw_queue_alloc()
    argument.viommu_id = viommu
    argument.type = IOMMU_HW_QUEUE_TYPE_SELFTEST
    argument.index = index
    argument.nesting_parent_iova = iova
    argument.length = length
    try call(IOMMUFD_CMD_HW_QUEUE_ALLOC, &argument)
    return argument.out_hw_queue_id
  }

  // MARK: accesses

  func makeAccess(_ space: UInt32, canPin: Bool = true) throws(Refusal) -> UInt32 {
    let answer = try test(IOMMU_TEST_OP_CREATE_ACCESS, space) {
      unsafe $0.create_access.flags = canPin ? 1 : 0
    }
    return unsafe answer.create_access.out_access_fd
  }

  /// Pins pages through an access; the number of the pinning.
  func pin(_ access: UInt32, _ iova: UInt64, _ length: UInt64) throws(Refusal) -> UInt32 {
    let answer = try test(IOMMU_TEST_OP_ACCESS_PAGES, access) {
      unsafe $0.access_pages.iova = iova
      unsafe $0.access_pages.length = length
    }
    return unsafe answer.access_pages.out_access_pages_id
  }

  func unpin(_ access: UInt32, _ pinning: UInt32) throws(Refusal) {
    try test(IOMMU_TEST_OP_DESTROY_ACCESS_PAGES, access) {
      unsafe $0.destroy_access_pages.access_pages_id = pinning
    }
  }

  // MARK: checks

  /// Refused unless `table` leads `iova` to the memory at `address`.
  func checkMap(
    _ table: UInt32, _ iova: UInt64, _ length: UInt64, _ address: UInt64
  ) throws(Refusal) {
    try test(IOMMU_TEST_OP_MD_CHECK_MAP, table) {
      unsafe $0.check_map = iommu_test_check_map(iova: iova, length: length, uptr: address)
    }
  }

  func checkRefs(_ address: UInt64, _ length: UInt64, _ count: UInt32) throws(Refusal) {
    try test(IOMMU_TEST_OP_MD_CHECK_REFS) {
      unsafe $0.check_refs = iommu_test_check_refs(length: length, uptr: address, refs: count)
    }
  }

  // MARK: memory

  func word(_ address: UInt64) throws(Refusal) -> UInt32 {
    var bytes: [UInt8] = [0, 0, 0, 0]
    try caller.load(into: &bytes, at: address)
    return (0..<4).reduce(0) { $0 | UInt32(bytes[$1]) << UInt32(8 * $1) }
  }

  func word64(_ address: UInt64) throws(Refusal) -> UInt64 {
    UInt64(try word(address)) | UInt64(try word(address + 4)) << 32
  }
}

func littleEndian<Number: FixedWidthInteger>(_ number: Number) -> [UInt8] {
  (0..<Number.bitWidth / 8).map { UInt8(truncatingIfNeeded: number >> Number($0 * 8)) }
}
