public import Hardware

/// What devices can be attached to: the driver's side of an I/O address space.
open class Domain {
  /// The driver that made it; only its own devices can be attached.
  public let owner: ObjectIdentifier
  /// Takes the page requests of attached devices; nil where faults are not reported.
  public var pageRequestHandler: (any PageRequestHandler)?

  public init(owner: AnyObject) {
    self.owner = ObjectIdentifier(owner)
  }

  /// Frees what the driver holds for it. No device is attached any more.
  open func free() {}
}

/// A domain whose translations are made by map and unmap.
open class PagingDomain: Domain {
  /// Bit n is set when leaves of 2^n bytes can be made.
  public let pageSizes: UInt64
  /// IOVAs the domain can translate.
  public let aperture: ClosedRange<UInt64>
  /// Whether it was allocated with dirty tracking.
  public let hasDirtyTracking: Bool

  public init(
    owner: AnyObject, pageSizes: UInt64, aperture: ClosedRange<UInt64>, hasDirtyTracking: Bool
  ) {
    self.pageSizes = pageSizes
    self.aperture = aperture
    self.hasDirtyTracking = hasDirtyTracking
    super.init(owner: owner)
  }

  /// Maps `byteCount` bytes; the largest leaves that alignment allows. On an error nothing is
  /// mapped.
  open func map(
    _ iova: IOVirtualAddress, to physical: PhysicalAddress, byteCount: UInt64, access: Access
  ) throws(DriverError) {
    preconditionFailure("a paging domain must map")
  }

  /// Unmaps what `map` mapped. The range covers whole earlier mappings.
  open func unmap(_ iova: IOVirtualAddress, byteCount: UInt64) {
    preconditionFailure("a paging domain must unmap")
  }

  /// Where an IOVA leads to, or nil.
  open func physicalAddress(of iova: IOVirtualAddress) -> PhysicalAddress? { nil }

  /// Makes every present and later mapping enforce cache coherency; false when it cannot.
  open func enforceCacheCoherency() -> Bool { false }

  /// Starts or stops the recording of writes.
  open func setDirtyTracking(_ enabled: Bool) throws(DriverError) {
    throw DriverError(.notSupported, because: "the domain has no dirty tracking")
  }

  /// Reports each leaf in the range that was written to, by its first IOVA and its size, and marks
  /// it clean again when `clear`.
  open func readDirty(
    _ iova: IOVirtualAddress, byteCount: UInt64, clear: Bool,
    _ report: (IOVirtualAddress, UInt64) -> Void
  ) throws(DriverError) {
    throw DriverError(.notSupported, because: "the domain has no dirty tracking")
  }
}

/// A domain whose translations the client keeps itself, on top of a nesting parent.
open class NestedDomain: Domain {
  /// Carries out cache invalidations of the client; how many entries were done before an error.
  open func invalidate(_ entries: UserDataArray) -> (done: UInt32, error: DriverError?) {
    (0, DriverError(.notSupported, because: "the domain takes no invalidations"))
  }
}

/// What a client asks of a new domain, beside the driver's own data.
public struct DomainOptions: OptionSet, Sendable {
  public var rawValue: UInt8
  public init(rawValue: UInt8) { self.rawValue = rawValue }
  public static var nestingParent: Self { Self(rawValue: 1) }
  public static var dirtyTracking: Self { Self(rawValue: 2) }
  /// May be attached to PASIDs.
  public static var pasid: Self { Self(rawValue: 4) }
}
