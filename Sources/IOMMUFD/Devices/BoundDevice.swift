public import Clients
public import IOMMUCore

/// A device that a context may use (kernel: iommufd_device).
public final class BoundDevice: ContextObject {
  public let device: any TranslatedDevice
  let group: ContextGroup
  /// The device's name in a virtual IOMMU.
  weak var virtualDevice: VirtualDevice?
  private var isBeingDestroyed = false

  private init(_ device: any TranslatedDevice, group: ContextGroup, in context: Context) {
    self.device = device
    self.group = group
    super.init(in: context)
  }

  /// Takes the device, and with it its whole group, for the context.
  public static func bind(
    _ device: any TranslatedDevice, in context: Context
  ) throws(Refusal) -> BoundDevice {
    // The number is taken first, as everywhere; the group follows.
    try context.failures.step()
    guard device.isCapable(of: .cacheCoherency) else {
      throw Refusal(.EINVAL, because: "the IOMMU cannot keep the device's accesses coherent")
    }
    try context.failures.step()
    let group = context.group(of: device)
    defer { context.forget(group) }
    let bound = try context.reserve(BoundDevice(device, group: group, in: context))
    do throws(DriverError) {
      try device.group.claim(for: context)
    } catch {
      context.abandon(bound)
      throw Refusal(error)
    }
    group.memberCount += 1
    bound.users += 1
    context.publish(bound)
    return bound
  }

  /// Gives the device back. It must be detached.
  public func unbind() {
    isBeingDestroyed = true
    if let virtualDevice { context.destroyWithDevice(virtualDevice) }
    context.destroyOwned(self)
  }

  public override func destroy() {
    device.group.releaseClaim()
    group.memberCount -= 1
    context.forget(group)
  }

  /// Refused when the device is going away.
  func requirePresence() throws(Refusal) {
    guard !isBeingDestroyed else {
      throw Refusal(.ENOENT, because: "the device is being removed")
    }
  }
}

extension Context {
  /// The record of the device's group in this context, made at its first device.
  func group(of device: any TranslatedDevice) -> ContextGroup {
    if let group = groups[ObjectIdentifier(device.group)] { return group }
    let group = ContextGroup(device.group)
    groups[ObjectIdentifier(device.group)] = group
    return group
  }

  /// Drops the record of a group that has no device here.
  func forget(_ group: ContextGroup) {
    if group.memberCount == 0 { groups[ObjectIdentifier(group.deviceGroup)] = nil }
  }

  /// Destroys a virtual device whose device goes; its number is never used again.
  fileprivate func destroyWithDevice(_ virtualDevice: VirtualDevice) {
    virtualDevice.users += 1
    destroyOwned(virtualDevice, leavingTombstone: true)
  }
}

/// A device group as one context uses it: which tables it and its PASIDs are attached to
/// (kernel: iommufd_group).
final class ContextGroup {
  /// One table on the group or on one PASID, and the devices that asked for it.
  struct AttachedTable {
    var table: HardwarePageTable
    var devices: [BoundDevice]
  }

  let deviceGroup: DeviceGroup
  var memberCount = 0
  /// By PASID; 0 is the requester id itself.
  var tables: [UInt32: AttachedTable] = [:]

  init(_ deviceGroup: DeviceGroup) {
    self.deviceGroup = deviceGroup
  }
}
