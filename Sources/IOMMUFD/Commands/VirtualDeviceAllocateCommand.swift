public import CKernelABI
public import Clients

/// IOMMU_VDEVICE_ALLOC: gives a device its name in a virtual IOMMU.
public enum VirtualDeviceAllocateCommand: IoctlCommand {
  public static var number: UInt32 { IOMMUFD_CMD_VDEVICE_ALLOC }
  public static var minimumBytes: Int { 24 }
  public static var zero: iommu_vdevice_alloc { iommu_vdevice_alloc() }

  public static func execute(
    _ argument: inout iommu_vdevice_alloc, _ call: Call
  ) throws(Refusal) -> Int64 {
    let virtualIOMMU: VirtualIOMMUObject = try call.context.object(argument.viommu_id)
    let device: BoundDevice = try call.context.object(argument.dev_id)
    let new = try VirtualDevice.make(
      virtualID: argument.virt_id, for: device, in: virtualIOMMU)
    argument.out_vdevice_id = new.id
    do throws(Refusal) {
      try call.respond(argument)
    } catch {
      call.context.abort(new)
      throw error
    }
    call.context.publish(new)
    return 0
  }
}
