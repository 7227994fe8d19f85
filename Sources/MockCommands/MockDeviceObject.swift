internal import CKernelABI
internal import Clients
internal import IOMMUCore
internal import IOMMUFD
internal import Mock

/// A mock device that a client plugged in, bound and attached (kernel: selftest_obj).
final class MockDeviceObject: ContextObject {
  let device: MockDevice
  private(set) var bound: BoundDevice?
  private let unit: MockUnit

  private init(_ device: MockDevice, of unit: MockUnit, in context: Context) {
    self.device = device
    self.unit = unit
    super.init(in: context)
  }

  /// Plugs a device in and attaches it to a table or space; reserved only. Returns the table's
  /// number.
  static func make(
    flags: UInt32, attachedTo id: UInt32, in context: Context
  ) throws(Refusal) -> (object: MockDeviceObject, table: UInt32) {
    guard let unit = context.environment.service(MockUnit.self) else {
      throw Refusal(.EOPNOTSUPP, because: "the machine has no mock unit")
    }
    // The object's number is the lowest of the three that are taken here.
    let place = try context.reserve(ContextObject(in: context))
    let device: MockDevice
    do throws(Refusal) {
      device = try asRefusal { () throws(DriverError) in
        try unit.makeDevice(flags: MockDeviceFlags(rawValue: flags))
      }
    } catch {
      context.abandon(place)
      throw error
    }
    let new = MockDeviceObject(device, of: unit, in: context)
    new.id = place.id
    do throws(Refusal) {
      let bound = try BoundDevice.bind(device, in: context)
      do throws(Refusal) {
        let table = try bound.attach(to: id, pasid: 0)
        new.bound = bound
        return (new, table)
      } catch {
        bound.unbind()
        throw error
      }
    } catch {
      unit.remove(device)
      context.abandon(new)
      throw error
    }
  }

  override func destroy() {
    guard let bound else { return }
    for pasid in bound.attachedPASIDs { bound.detach(pasid: pasid) }
    bound.detach(pasid: 0)
    bound.unbind()
    unit.remove(device)
  }

  /// The device as a context's object; it exists as long as this one.
  func requireBound() -> BoundDevice {
    guard let bound else { preconditionFailure("a mock device is bound") }
    return bound
  }
}

extension TestCommand {
  /// IOMMU_TEST_OP_MOCK_DOMAIN and _FLAGS: plugs a device in.
  @Sendable static func makeDevice(
    _ argument: inout iommu_test_cmd, _ call: Call
  ) throws(Refusal) -> Int64 {
    let flags =
      argument.op == IOMMU_TEST_OP_MOCK_DOMAIN_FLAGS
      ? unsafe argument.arguments.mock_domain_flags.dev_flags : 0
    let new = try MockDeviceObject.make(flags: flags, attachedTo: argument.id, in: call.context)
    unsafe argument.arguments.mock_domain.out_hwpt_id = new.table
    unsafe argument.arguments.mock_domain.out_stdev_id = new.object.id
    unsafe argument.arguments.mock_domain.out_idev_id = new.object.requireBound().id
    do throws(Refusal) {
      try call.respond(argument)
    } catch {
      call.context.abort(new.object)
      throw error
    }
    call.context.publish(new.object)
    return 0
  }

  /// IOMMU_TEST_OP_MOCK_DOMAIN_REPLACE: attaches the device elsewhere.
  @Sendable static func replaceTable(
    _ argument: inout iommu_test_cmd, _ call: Call
  ) throws(Refusal) -> Int64 {
    let object: MockDeviceObject = try call.context.object(argument.id)
    let id = unsafe argument.arguments.mock_domain_replace.pt_id
    let table = try object.requireBound().replace(with: id, pasid: 0)
    unsafe argument.arguments.mock_domain_replace.pt_id = table
    try call.respond(argument)
    return 0
  }

  @Sendable static func attachPASID(
    _ argument: inout iommu_test_cmd, _ call: Call
  ) throws(Refusal) -> Int64 {
    let object: MockDeviceObject = try call.context.object(argument.id)
    let wanted = unsafe argument.arguments.pasid_attach
    let bound = object.requireBound()
    let table = try bound.attach(to: wanted.pt_id, pasid: wanted.pasid)
    unsafe argument.arguments.pasid_attach.pt_id = table
    do throws(Refusal) {
      try call.respond(argument)
    } catch {
      bound.detach(pasid: wanted.pasid)
      throw error
    }
    return 0
  }

  @Sendable static func replacePASID(
    _ argument: inout iommu_test_cmd, _ call: Call
  ) throws(Refusal) -> Int64 {
    let object: MockDeviceObject = try call.context.object(argument.id)
    let wanted = unsafe argument.arguments.pasid_replace
    let table = try object.requireBound().replace(with: wanted.pt_id, pasid: wanted.pasid)
    unsafe argument.arguments.pasid_replace.pt_id = table
    try call.respond(argument)
    return 0
  }

  @Sendable static func detachPASID(
    _ argument: inout iommu_test_cmd, _ call: Call
  ) throws(Refusal) -> Int64 {
    let object: MockDeviceObject = try call.context.object(argument.id)
    object.requireBound().detach(pasid: unsafe argument.arguments.pasid_detach.pasid)
    return 0
  }

  /// IOMMU_TEST_OP_PASID_CHECK_HWPT: whether a PASID is attached to this table; to none for 0.
  @Sendable static func checkPASID(
    _ argument: inout iommu_test_cmd, _ call: Call
  ) throws(Refusal) -> Int64 {
    let object: MockDeviceObject = try call.context.object(argument.id)
    let wanted = unsafe argument.arguments.pasid_check
    let attachment = object.device.group.attachment(
      pasid: wanted.pasid == 0 ? nil : wanted.pasid)
    guard wanted.hwpt_id != 0 else {
      guard attachment == nil else { throw Refusal(.EINVAL, because: "the PASID is attached") }
      return 0
    }
    let found: ContextObject = try call.context.object(wanted.hwpt_id)
    guard let table = found as? HardwarePageTable, attachment?.domain === table.domain else {
      throw Refusal(.EINVAL, because: "the PASID is not attached to that page table")
    }
    return 0
  }
}

extension TestCommand {
  /// IOMMU_TEST_OP_TRIGGER_IOPF: the device asks for a page.
  @Sendable static func requestPage(
    _ argument: inout iommu_test_cmd, _ call: Call
  ) throws(Refusal) -> Int64 {
    let wanted = unsafe argument.arguments.trigger_iopf
    let bound: BoundDevice = try call.context.object(wanted.dev_id)
    guard let device = bound.device as? MockDevice else {
      throw Refusal(.EINVAL, because: "the device is no mock device")
    }
    device.group.report(
      PageRequest(
        pasid: wanted.pasid == 0 ? nil : wanted.pasid, groupIndex: wanted.grpid,
        permissions: wanted.perm, address: wanted.addr, isLast: true), from: device)
    return 0
  }

  /// IOMMU_TEST_OP_TRIGGER_VEVENT: the device's virtual IOMMU reports an event.
  @Sendable static func raiseEvent(
    _ argument: inout iommu_test_cmd, _ call: Call
  ) throws(Refusal) -> Int64 {
    let id = unsafe argument.arguments.trigger_vevent.dev_id
    let bound: BoundDevice = try call.context.object(id)
    guard let device = bound.device as? MockDevice else {
      throw Refusal(.EINVAL, because: "the device is no mock device")
    }
    try asRefusal { () throws(DriverError) in try device.raiseVirtualEvent() }
    return 0
  }
}
