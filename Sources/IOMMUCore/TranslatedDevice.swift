/// IOVAs that a device cannot use for mappings.
public struct ReservedRegion: Equatable, Sendable {
  public enum Kind: Sendable {
    case direct
    /// A direct mapping that user space may replace: not reserved for it.
    case directRelaxable
    case reserved
    case messageInterrupts
  }
  public var kind: Kind
  public var range: ClosedRange<UInt64>

  public init(kind: Kind, range: ClosedRange<UInt64>) {
    self.kind = kind
    self.range = range
  }
}

public enum DeviceCapability: Sendable {
  case cacheCoherency
  case enforcedCacheCoherency
  case dirtyTracking
  case addressTranslationServices
  case executePASID
  case privilegedPASID
}

/// A device as the driver of its IOMMU sees it.
public protocol TranslatedDevice: AnyObject {
  /// The driver, by identity: domains of another one cannot be attached.
  var driver: AnyObject { get }
  /// The physical unit it is behind, by identity.
  var unit: AnyObject { get }
  var group: DeviceGroup { get }
  var reservedRegions: [ReservedRegion] { get }
  /// How many PASIDs it can use; 0 when it cannot.
  var pasidLimit: UInt32 { get }
  /// Faults on PASIDs that the host knows nothing of go to the nested domain of the requester id.
  var hasUserPASIDTable: Bool { get }

  func isCapable(of capability: DeviceCapability) -> Bool

  /// What the hardware can do, in the driver's own structure. `type` 0 asks for the default one.
  func hardwareInfo(type: UInt32) throws(DriverError) -> (type: UInt32, bytes: [UInt8])

  func allocatePagingDomain(
    _ options: DomainOptions, _ data: UserData?
  ) throws(DriverError) -> PagingDomain

  func allocateNestedDomain(
    on parent: PagingDomain, _ options: DomainOptions, _ data: UserData
  ) throws(DriverError) -> NestedDomain

  /// Whether virtual IOMMUs of this type can be made.
  func supportsVirtualIOMMU(type: UInt32) -> Bool
  func allocateVirtualIOMMU(
    type: UInt32, parent: PagingDomain, _ data: UserData?, host: any VirtualIOMMUHost
  ) throws(DriverError) -> VirtualIOMMU

  /// Points the device, or one of its PASIDs, at another domain; nil is the blocked state. A
  /// failure leaves the former in force.
  func setDomain(
    _ domain: Domain?, pasid: UInt32?, replacing old: Domain?
  ) throws(DriverError)

  func pageResponse(to request: PageRequest, _ response: PageResponse)
}
