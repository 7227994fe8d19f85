public import CKernelABI
public import Clients
internal import Hardware
internal import IOMMUCore

/// IOMMU_GET_HW_INFO: describes the IOMMU in front of a device, in its driver's own structure.
public enum HardwareInfoCommand: IoctlCommand {
  public static var number: UInt32 { IOMMUFD_CMD_GET_HW_INFO }
  public static var minimumBytes: Int { 32 }
  public static var zero: iommu_hw_info { iommu_hw_info() }

  public static func execute(
    _ argument: inout iommu_hw_info, _ call: Call
  ) throws(Refusal) -> Int64 {
    guard argument.flags & ~IOMMU_HW_INFO_FLAG_INPUT_TYPE == 0,
      argument.reserved.0 | argument.reserved.1 | argument.reserved.2 == 0
    else {
      throw Refusal(.EOPNOTSUPP, because: "a flag is unknown or a reserved byte not zero")
    }
    let bound: BoundDevice = try call.context.object(argument.dev_id)
    let device = bound.device
    let asksForType = argument.flags & IOMMU_HW_INFO_FLAG_INPUT_TYPE != 0
    let wanted = asksForType ? argument.data_type : IOMMU_HW_INFO_TYPE_DEFAULT
    try call.context.failures.step()
    let info = try asRefusal { () throws(DriverError) in try device.hardwareInfo(type: wanted) }
    try store(info.bytes, at: argument.data_uptr, room: UInt64(argument.data_len), call.caller)
    argument.data_type = info.type
    argument.data_len = UInt32(info.bytes.count)
    argument.out_capabilities = capabilities(of: device)
    argument.out_max_pasid_log2 =
      device.pasidLimit == 0 ? 0 : UInt8(31 - device.pasidLimit.leadingZeroBitCount)
    try call.respond(argument)
    return 0
  }

  private static func capabilities(of device: any TranslatedDevice) -> UInt64 {
    var capabilities: UInt64 = 0
    if device.isCapable(of: .dirtyTracking) { capabilities |= IOMMU_HW_CAP_DIRTY_TRACKING }
    if !device.isCapable(of: .addressTranslationServices) {
      capabilities |= IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED
    }
    guard device.pasidLimit > 0 else { return capabilities }
    if device.isCapable(of: .executePASID) { capabilities |= IOMMU_HW_CAP_PCI_PASID_EXEC }
    if device.isCapable(of: .privilegedPASID) { capabilities |= IOMMU_HW_CAP_PCI_PASID_PRIV }
    return capabilities
  }

  /// Writes as much as there is room for and zeros behind it, a page at a time.
  private static func store(
    _ bytes: [UInt8], at address: UInt64, room: UInt64, _ caller: any Caller
  ) throws(Refusal) {
    var done: UInt64 = 0
    while done < room {
      let count = min(room - done, pageBytes - (address &+ done) % pageBytes)
      var piece = [UInt8](repeating: 0, count: Int(count))
      for index in piece.indices where done + UInt64(index) < bytes.count {
        piece[index] = bytes[Int(done) + index]
      }
      try caller.store(piece, at: address &+ done)
      done += count
    }
  }
}
