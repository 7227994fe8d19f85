internal import Clients
internal import IOMMUCore

/// A device's name in a virtual IOMMU (kernel: iommufd_vdevice).
public final class VirtualDevice: ContextObject {
  let virtualID: UInt64
  let device: BoundDevice
  private let virtualIOMMU: VirtualIOMMUObject

  private init(virtualID: UInt64, device: BoundDevice, in virtualIOMMU: VirtualIOMMUObject) {
    self.virtualID = virtualID
    self.device = device
    self.virtualIOMMU = virtualIOMMU
    super.init(in: virtualIOMMU.context)
  }

  /// Names a device; reserved only. A device has one name, and a name one device.
  static func make(
    virtualID: UInt64, for device: BoundDevice, in virtualIOMMU: VirtualIOMMUObject
  ) throws(Refusal) -> VirtualDevice {
    guard device.device.unit === virtualIOMMU.unit else {
      throw Refusal(.EINVAL, because: "the device is behind another IOMMU")
    }
    try device.requirePresence()
    guard device.virtualDevice == nil else {
      throw Refusal(.EEXIST, because: "the device has a virtual id already")
    }
    let context = virtualIOMMU.context
    let new = try context.reserve(
      VirtualDevice(virtualID: virtualID, device: device, in: virtualIOMMU))
    do throws(Refusal) {
      try context.failures.step()
      guard virtualIOMMU.virtualDevices[virtualID] == nil else {
        throw Refusal(.EEXIST, because: "another device has that virtual id")
      }
    } catch {
      context.abandon(new)
      throw error
    }
    virtualIOMMU.users += 1
    virtualIOMMU.virtualDevices[virtualID] = new
    device.virtualDevice = new
    return new
  }

  public override func destroy() {
    virtualIOMMU.virtualDevices[virtualID] = nil
    virtualIOMMU.users -= 1
    device.virtualDevice = nil
  }
}
