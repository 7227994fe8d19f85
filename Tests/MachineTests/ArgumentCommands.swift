import CKernelABI
import Clients
import IOMMUFD
import Machine
import TestSupport
import Testing

/// Objects for every command to work on.
final class ArgumentWorld {
  static var argument: UInt64 { 0x6000_0000 }
  static var argumentBytes: UInt64 { 0x2000 }
  let client: Client
  let nesting: Nesting
  let nested: UInt32
  let dirtyTable: UInt32
  let empty: UInt32
  let second: (object: UInt32, table: UInt32, device: UInt32)
  let pasidTables: [UInt32]
  let access: UInt32
  let start: UInt64 = 16 << 20
  let file: SimulatedFile

  init() throws {
    client = try Client()
    file = SimulatedFile(byteCount: 0x4000, memory: client.machine.physicalMemory)
    client.caller.descriptors[50] = .foreign(PassedFile(memory: file.source, handle: file))
    nesting = try Nesting(client)
    nested = try client.makeNested(nesting.device, nesting.viommu)
    dirtyTable = try client.makeTable(
      nesting.device, nesting.space, flags: IOMMU_HWPT_ALLOC_DIRTY_TRACKING)
    second = try client.makeDevice(on: nesting.space, flags: MOCK_FLAGS_DEVICE_PASID)
    pasidTables = [
      try client.makeTable(second.device, nesting.space, flags: IOMMU_HWPT_ALLOC_PASID),
      try client.makeTable(second.device, nesting.space, flags: IOMMU_HWPT_ALLOC_PASID),
    ]
    try client.replace(second.object, pasidTables[0])
    try client.attach(second.object, pasid: 9, pasidTables[0])
    empty = try client.makeSpace()
    try client.mapFile(nesting.space, 50, 0, 0x4000, at: start)
    access = try client.makeAccess(nesting.space)
    client.process.map(Self.argument, byteCount: Self.argumentBytes)
  }

  /// Calls with these bytes at an offset of the argument's memory, made unwritable where asked for.
  func call(
    _ number: UInt32, _ bytes: [UInt8], at offset: UInt64 = 0, isWritable: Bool = true
  ) throws -> Errno? {
    let address = Self.argument + offset
    try client.caller.store(bytes, at: address)
    if !isWritable {
      client.process.unmap(Self.argument)
      client.process.map(Self.argument, byteCount: Self.argumentBytes, isWritable: false)
    }
    let client = client
    return client.errno { () throws(Refusal) in
      client.machine.beginCall(of: client.process, thread: 1)
      defer { client.machine.endCall(of: client.process, thread: 1) }
      _ = try client.file.ioctl(0x3b00 | number, address, caller: client.caller)
    }
  }

  var snapshot: String { client.file.context.snapshot }

  /// Linux breaks when a mock device goes with a PASID attached, so that has no rule.
  func close() throws {
    for pasid in [5, 9] as [UInt32] { try client.detach(second.object, pasid: pasid) }
    client.close()
  }
}

/// The commands, each with a complete argument.
extension ArgumentTests {
  /// What becomes of a call whose answer cannot be written.
  enum Effect {
    case noAnswer
    case onlyReads
    case undone
    case stays
  }

  struct Command: CustomTestStringConvertible, Sendable {
    var name: String
    var number: UInt32
    /// The shortest argument, where that is less than the whole structure.
    var minimum: Int?
    var effect: Effect
    /// What the call answers when nothing is wrong with its argument's memory.
    var answer: Errno?
    var bytes: @Sendable (World) throws -> [UInt8]
    var testDescription: String { name }

    init<Argument>(
      _ name: String, _ number: UInt32, _ effect: Effect, minimum: Int? = nil,
      answer: Errno? = nil, _ zero: @autoclosure @escaping @Sendable () -> Argument,
      _ fill: @escaping @Sendable (World, inout Argument) throws -> Void
    ) {
      self.name = name
      self.number = number
      self.minimum = minimum
      self.effect = effect
      self.answer = answer
      bytes = { world in
        var argument = zero()
        try fill(world, &argument)
        var bytes = unsafe withUnsafeBytes(of: argument) { unsafe Array($0) }
        bytes.replaceSubrange(0..<4, with: littleEndian(UInt32(bytes.count)))
        return bytes
      }
    }
  }

  static let commands = publicCommands + testCommands

  private static let publicCommands: [Command] = [
    Command("DESTROY", IOMMUFD_CMD_DESTROY, .noAnswer, iommu_destroy()) { $1.id = $0.empty },
    Command("IOAS_ALLOC", IOMMUFD_CMD_IOAS_ALLOC, .undone, iommu_ioas_alloc()) { _, _ in },
    Command("ALLOW_IOVAS", IOMMUFD_CMD_IOAS_ALLOW_IOVAS, .noAnswer, iommu_ioas_allow_iovas()) {
      let range = littleEndian($0.start) + littleEndian($0.start + 0xfff)
      try $0.client.caller.store(range, at: Client.scratch)
      $1.ioas_id = $0.nesting.space
      $1.num_iovas = 1
      $1.allowed_iovas = Client.scratch
    },
    Command("COPY", IOMMUFD_CMD_IOAS_COPY, .stays, iommu_ioas_copy()) {
      $1.flags = 6
      $1.src_ioas_id = $0.nesting.space
      $1.dst_ioas_id = $0.empty
      $1.src_iova = $0.start
      $1.length = 0x2000
    },
    Command("IOVA_RANGES", IOMMUFD_CMD_IOAS_IOVA_RANGES, .onlyReads, iommu_ioas_iova_ranges()) {
      $1.ioas_id = $0.nesting.space
      $1.num_iovas = 8
      $1.allowed_iovas = Client.scratch
    },
    Command("MAP", IOMMUFD_CMD_IOAS_MAP, .stays, iommu_ioas_map()) {
      $1.flags = 6
      $1.ioas_id = $0.nesting.space
      $1.user_va = Client.buffer
      $1.length = 0x3000
    },
    Command("MAP_FILE", IOMMUFD_CMD_IOAS_MAP_FILE, .stays, iommu_ioas_map_file()) {
      $1.flags = 6
      $1.ioas_id = $0.nesting.space
      $1.fd = 50
      $1.length = 0x3000
    },
    Command("UNMAP", IOMMUFD_CMD_IOAS_UNMAP, .stays, iommu_ioas_unmap()) {
      $1.ioas_id = $0.nesting.space
      $1.length = .max
    },
    Command("OPTION", IOMMUFD_CMD_OPTION, .stays, iommu_option()) {
      $1.option_id = IOMMU_OPTION_HUGE_PAGES
      $1.op = IOMMU_OPTION_OP_SET
      $1.object_id = $0.empty
    },
    Command("VFIO_IOAS SET", IOMMUFD_CMD_VFIO_IOAS, .noAnswer, iommu_vfio_ioas()) {
      $1.op = IOMMU_VFIO_IOAS_SET
      $1.ioas_id = $0.empty
    },
    Command("VFIO_IOAS GET", IOMMUFD_CMD_VFIO_IOAS, .onlyReads, iommu_vfio_ioas()) {
      var argument = iommu_vfio_ioas()
      argument.op = IOMMU_VFIO_IOAS_SET
      argument.ioas_id = $0.empty
      try $0.client.call(IOMMUFD_CMD_VFIO_IOAS, &argument)
      $1.op = IOMMU_VFIO_IOAS_GET
    },
    Command("HWPT_ALLOC", IOMMUFD_CMD_HWPT_ALLOC, .undone, minimum: 24, iommu_hwpt_alloc()) {
      $1.dev_id = $0.nesting.device
      $1.pt_id = $0.nesting.space
    },
    Command(
      "GET_HW_INFO", IOMMUFD_CMD_GET_HW_INFO, .onlyReads, minimum: 32, iommu_hw_info()
    ) {
      $1.dev_id = $0.nesting.device
      $1.data_len = 8
      $1.data_uptr = Client.scratch
    },
    Command(
      "SET_DIRTY_TRACKING", IOMMUFD_CMD_HWPT_SET_DIRTY_TRACKING, .noAnswer,
      iommu_hwpt_set_dirty_tracking()
    ) {
      $1.hwpt_id = $0.dirtyTable
      $1.flags = IOMMU_HWPT_DIRTY_TRACKING_ENABLE
    },
    Command(
      "GET_DIRTY_BITMAP", IOMMUFD_CMD_HWPT_GET_DIRTY_BITMAP, .noAnswer,
      iommu_hwpt_get_dirty_bitmap()
    ) {
      $1.hwpt_id = $0.dirtyTable
      $1.iova = $0.start
      $1.length = 0x4000
      $1.page_size = 4096
      $1.data = Client.scratch
    },
    Command("INVALIDATE", IOMMUFD_CMD_HWPT_INVALIDATE, .onlyReads, iommu_hwpt_invalidate()) {
      $1.hwpt_id = $0.nested
      $1.data_type = IOMMU_HWPT_INVALIDATE_DATA_SELFTEST
      $1.entry_len = 8
    },
    Command("FAULT_QUEUE_ALLOC", IOMMUFD_CMD_FAULT_QUEUE_ALLOC, .undone, iommu_fault_alloc()) {
      _, _ in
    },
    Command(
      "VIOMMU_ALLOC", IOMMUFD_CMD_VIOMMU_ALLOC, .undone, minimum: 24, iommu_viommu_alloc()
    ) {
      $1.type = IOMMU_VIOMMU_TYPE_SELFTEST
      $1.dev_id = $0.nesting.device
      $1.hwpt_id = $0.nesting.parent
    },
    Command("VDEVICE_ALLOC", IOMMUFD_CMD_VDEVICE_ALLOC, .undone, iommu_vdevice_alloc()) {
      $1.viommu_id = $0.nesting.viommu
      $1.dev_id = $0.second.device
      $1.virt_id = 7
    },
    Command(
      "CHANGE_PROCESS", IOMMUFD_CMD_IOAS_CHANGE_PROCESS, .noAnswer,
      iommu_ioas_change_process()
    ) { _, _ in },
    Command(
      "VEVENTQ_ALLOC", IOMMUFD_CMD_VEVENTQ_ALLOC, .undone, minimum: 28, iommu_veventq_alloc()
    ) {
      $1.viommu_id = $0.nesting.viommu
      $1.type = IOMMU_VEVENTQ_TYPE_SELFTEST
      $1.veventq_depth = 2
    },
    Command("HW_QUEUE_ALLOC", IOMMUFD_CMD_HW_QUEUE_ALLOC, .undone, iommu_hw_queue_alloc()) {
      $1.viommu_id = $0.nesting.viommu
      $1.type = IOMMU_HW_QUEUE_TYPE_SELFTEST
      $1.nesting_parent_iova = $0.start
      $1.length = 0x1000
    },
    // Linux as measured has no devices without an IOMMU.
    Command(
      "NOIOMMU_GET_PA", IOMMUFD_CMD_IOAS_NOIOMMU_GET_PA, .noAnswer, answer: .EOPNOTSUPP,
      iommu_ioas_noiommu_get_pa()
    ) {
      $1.ioas_id = $0.nesting.space
      $1.iova = $0.start
      $1.length = 1
    },
  ]

  /// An operation of the mock; what comes behind `last` is padding, which need not be there.
  private static func test(
    _ name: String, _ operation: UInt32, _ effect: Effect,
    _ id: any KeyPath<World, UInt32> & Sendable,
    _ fill: @escaping @Sendable (World, inout iommu_test_arguments) -> Void = { _, _ in }
  ) -> Command {
    Command(name, IOMMUFD_CMD_TEST, effect, minimum: 68, iommu_test_cmd()) {
      $1.op = operation
      $1.id = $0[keyPath: id]
      fill($0, &$1.arguments)
    }
  }

  private static let testCommands: [Command] = [
    test("MOCK_DOMAIN", IOMMU_TEST_OP_MOCK_DOMAIN, .undone, \.empty),
    test("MOCK_DOMAIN_REPLACE", IOMMU_TEST_OP_MOCK_DOMAIN_REPLACE, .stays, \.nesting.object) {
      unsafe $1.mock_domain_replace.pt_id = $0.nested
    },
    test("CREATE_ACCESS", IOMMU_TEST_OP_CREATE_ACCESS, .undone, \.nesting.space),
    test("ACCESS_PAGES", IOMMU_TEST_OP_ACCESS_PAGES, .undone, \.access) {
      unsafe $1.access_pages.iova = $0.start
      unsafe $1.access_pages.length = 0x1000
    },
    test("ADD_RESERVED", IOMMU_TEST_OP_ADD_RESERVED, .noAnswer, \.empty) {
      unsafe $1.add_reserved.length = $0.start
    },
    test("PASID_ATTACH", IOMMU_TEST_OP_PASID_ATTACH, .undone, \.second.object) {
      unsafe $1.pasid_attach = iommu_test_pasid_attach(pasid: 5, pt_id: $0.pasidTables[1])
    },
    test("PASID_REPLACE", IOMMU_TEST_OP_PASID_REPLACE, .stays, \.second.object) {
      unsafe $1.pasid_replace = iommu_test_pasid_replace(pasid: 9, pt_id: $0.pasidTables[1])
    },
    test("PASID_DETACH", IOMMU_TEST_OP_PASID_DETACH, .noAnswer, \.second.object) {
      unsafe $1.pasid_detach.pasid = 9
    },
  ]
}
