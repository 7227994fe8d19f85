internal import CKernelABI
internal import Clients
internal import Hardware
internal import IOMMUFD

/// The descriptor of an access that a test made (kernel: selftest_access).
final class AccessFile: MachineFile {
  /// Pages that the test keeps pinned.
  struct Item {
    var id: UInt32
    var iova: UInt64
    var byteCount: UInt64
  }

  let pinsPages: Bool
  private(set) var access: SoftwareAccess?
  private let context: Context
  private var items: [Item] = []
  private var nextID: UInt32 = 0

  init(pinsPages: Bool, in context: Context) throws(Refusal) {
    try context.failures.step()
    self.pinsPages = pinsPages
    self.context = context
    access = nil
    access = try SoftwareAccess.make(pinsPages: pinsPages, in: context) { [unowned self] in
      letGo($0, byteCount: $1)
    }
  }

  var name: String { "[iommufd_test_staccess]" }
  var status: FileStatus { FileStatus(mode: 0o600) }

  func requireAccess() -> SoftwareAccess {
    guard let access else { preconditionFailure("an access file has an access") }
    return access
  }

  func release() {
    guard let access else { return }
    letGo(0, byteCount: .max)
    self.access = nil
    context.destroyOwned(access)
  }

  func add(iova: UInt64, byteCount: UInt64) -> UInt32 {
    defer { nextID &+= 1 }
    items.append(Item(id: nextID, iova: iova, byteCount: byteCount))
    return nextID
  }

  /// Unpins an item; false when there is none.
  func remove(_ id: UInt32) -> Bool {
    guard let index = items.firstIndex(where: { $0.id == id }) else { return false }
    let item = items.remove(at: index)
    access?.unpin(item.iova, byteCount: item.byteCount)
    return true
  }

  /// Unpins whatever touches a range that is being unmapped.
  private func letGo(_ iova: UInt64, byteCount: UInt64) {
    let last = iova + (byteCount - 1)
    for item in items where item.iova <= last && item.iova + (item.byteCount - 1) >= iova {
      access?.unpin(item.iova, byteCount: item.byteCount)
    }
    items.removeAll { $0.iova <= last && $0.iova + ($0.byteCount - 1) >= iova }
  }
}

extension TestCommand {
  /// The most that a test may pin or copy at once.
  private static var largestTransfer: UInt64 { 16 << 20 }

  private static func accessFile(_ descriptor: UInt32, _ call: Call) throws(Refusal) -> AccessFile {
    guard
      case .machine(let file as AccessFile) =
        call.caller.descriptor(Int32(truncatingIfNeeded: descriptor))
    else { throw Refusal(.EBADFD, because: "the descriptor is no access") }
    return file
  }

  @Sendable static func createAccess(
    _ argument: inout iommu_test_cmd, _ call: Call
  ) throws(Refusal) -> Int64 {
    let flags = unsafe argument.arguments.create_access.flags
    guard flags & ~MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES == 0 else {
      throw Refusal(.EOPNOTSUPP, because: "a flag is unknown")
    }
    let file = try AccessFile(
      pinsPages: flags & MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES != 0, in: call.context)
    do throws(Refusal) {
      try file.requireAccess().attach(to: try call.context.object(argument.id))
      try call.respond(argument)
      try call.caller.install(file, closeOnExec: true, numberAt: call.address &+ 16)
    } catch {
      file.release()
      throw error
    }
    return 0
  }

  @Sendable static func replaceAccessSpace(
    _ argument: inout iommu_test_cmd, _ call: Call
  ) throws(Refusal) -> Int64 {
    let file = try accessFile(argument.id, call)
    let id = unsafe argument.arguments.access_replace_ioas.ioas_id
    try file.requireAccess().replaceSpace(by: id)
    return 0
  }

  @Sendable static func unpinPages(
    _ argument: inout iommu_test_cmd, _ call: Call
  ) throws(Refusal) -> Int64 {
    let file = try accessFile(argument.id, call)
    guard file.remove(unsafe argument.arguments.destroy_access_pages.access_pages_id) else {
      throw Refusal(.ENOENT, because: "no pages were pinned under that number")
    }
    return 0
  }

  /// IOMMU_TEST_OP_ACCESS_PAGES: pins pages by IOVA and compares them with those of a user address.
  @Sendable static func pinPages(
    _ argument: inout iommu_test_cmd, _ call: Call
  ) throws(Refusal) -> Int64 {
    let wanted = unsafe argument.arguments.access_pages
    guard wanted.length <= largestTransfer else {
      throw Refusal(.ENOMEM, because: "the length is above 16 MiB")
    }
    guard wanted.flags & ~(MOCK_FLAGS_ACCESS_WRITE | MOCK_FLAGS_ACCESS_SYZ) == 0 else {
      throw Refusal(.EOPNOTSUPP, because: "a flag is unknown")
    }
    let file = try accessFile(argument.id, call)
    guard file.pinsPages else {
      throw Refusal(.EOPNOTSUPP, because: "the access was not made to pin pages")
    }
    let access = file.requireAccess()
    let iova = translated(wanted.iova, wanted.flags, access)
    try call.context.failures.step()
    var pages: [PhysicalAddress] = []
    try access.pin(
      iova, byteCount: wanted.length, writable: wanted.flags & MOCK_FLAGS_ACCESS_WRITE != 0
    ) { pages.append($0) }
    let id: UInt32
    do throws(Refusal) {
      if wanted.uptr != 0 { try compare(pages, with: wanted.uptr &- iova % pageBytes, call) }
      try call.context.failures.step()
      id = file.add(iova: iova, byteCount: wanted.length)
    } catch {
      access.unpin(iova, byteCount: wanted.length)
      throw error
    }
    unsafe argument.arguments.access_pages.out_access_pages_id = id
    do throws(Refusal) {
      try call.respond(argument)
    } catch {
      _ = file.remove(id)
      throw error
    }
    return 0
  }

  private static func compare(
    _ pages: [PhysicalAddress], with address: UInt64, _ call: Call
  ) throws(Refusal) {
    for (index, page) in pages.enumerated() {
      let user = (address &+ UInt64(index) << pageShift) & ~(pageBytes - 1)
      guard try physicalAddress(of: user, call) == page else {
        throw Refusal(.EBADE, because: "the IOVA leads to other pages")
      }
    }
  }

  /// IOMMU_TEST_OP_ACCESS_RW: copies between mapped memory and a buffer.
  @Sendable static func copyByAccess(
    _ argument: inout iommu_test_cmd, _ call: Call
  ) throws(Refusal) -> Int64 {
    let wanted = unsafe argument.arguments.access_rw
    guard wanted.length <= largestTransfer else {
      throw Refusal(.ENOMEM, because: "the length is above 16 MiB")
    }
    let known = MOCK_ACCESS_RW_WRITE | MOCK_ACCESS_RW_SLOW_PATH | MOCK_FLAGS_ACCESS_SYZ
    guard wanted.flags & ~known == 0 else {
      throw Refusal(.EOPNOTSUPP, because: "a flag is unknown")
    }
    let access = try accessFile(argument.id, call).requireAccess()
    try call.context.failures.step()
    let iova = translated(wanted.iova, wanted.flags, access)
    let slowly = wanted.flags & MOCK_ACCESS_RW_SLOW_PATH != 0
    var bytes = [UInt8](repeating: 0, count: Int(wanted.length))
    if wanted.flags & MOCK_ACCESS_RW_WRITE != 0 {
      try call.caller.load(into: &bytes, at: wanted.uptr)
      try access.write(iova, bytes, slowly: slowly, caller: call.caller)
    } else {
      try access.read(iova, &bytes, slowly: slowly, caller: call.caller)
      try call.caller.store(bytes, at: wanted.uptr)
    }
    return 0
  }

  /// Fuzzers give the number of a mapping and an offset in it instead of an IOVA.
  private static func translated(
    _ iova: UInt64, _ flags: UInt32, _ access: SoftwareAccess
  ) -> UInt64 {
    guard flags & MOCK_FLAGS_ACCESS_SYZ != 0 else { return iova }
    guard
      let first = access.space?.firstIOVA(ofMapping: UInt32(truncatingIfNeeded: iova))
    else { return 0 }
    return first &+ iova >> 32
  }
}
