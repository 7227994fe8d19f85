public import Hardware

/// What a driver's virtual IOMMU needs from the layer that holds it.
public protocol VirtualIOMMUHost: AnyObject {
  /// The device that has this virtual id.
  func device(virtualID: UInt64) -> (any TranslatedDevice)?
  func virtualID(of device: any TranslatedDevice) -> UInt64?

  /// Makes zeroed pages that the client can map, and tells at which offset of the file.
  func allocateMapping(byteCount: UInt64) throws(DriverError) -> VirtualIOMMUMapping
  func freeMapping(_ mapping: VirtualIOMMUMapping)

  /// Queues an event for the client. Fails when no queue of this type exists.
  func report(_ event: [UInt8], type: UInt32) throws(DriverError)
}

/// Pages of a virtual IOMMU that the client maps.
@safe public struct VirtualIOMMUMapping {
  public let offset: UInt64
  public let bytes: UnsafeMutableRawBufferPointer

  public init(offset: UInt64, bytes: UnsafeMutableRawBufferPointer) {
    self.offset = offset
    unsafe self.bytes = bytes
  }
}

/// A slice of a physical IOMMU for one guest: the driver's side.
open class VirtualIOMMU {
  public let host: any VirtualIOMMUHost

  public init(host: any VirtualIOMMUHost) {
    self.host = host
  }

  open func free() {}

  open func allocateNestedDomain(
    _ options: DomainOptions, _ data: UserData
  ) throws(DriverError) -> NestedDomain {
    throw DriverError(.notSupported, because: "the virtual IOMMU has no nested domains")
  }

  /// Carries out the client's invalidations; how many entries were done before an error.
  open func invalidate(_ entries: UserDataArray) -> (done: UInt32, error: DriverError?) {
    (0, DriverError(.notSupported, because: "the virtual IOMMU takes no invalidations"))
  }

  open func supportsHardwareQueue(type: UInt32) -> Bool { false }

  /// Makes a queue that the hardware reads at `base`, where the guest's `address` leads to.
  open func allocateHardwareQueue(
    type: UInt32, index: UInt32, address: IOVirtualAddress, base: PhysicalAddress, byteCount: UInt64
  ) throws(DriverError) -> HardwareQueue {
    throw DriverError(.notSupported, because: "the virtual IOMMU has no hardware queues")
  }
}

/// A queue of a virtual IOMMU that the hardware itself reads.
open class HardwareQueue {
  /// A queue that must outlive this one.
  public let dependency: HardwareQueue?

  public init(dependingOn dependency: HardwareQueue?) {
    self.dependency = dependency
  }

  open func free() {}
}
