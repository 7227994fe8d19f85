/// Why a driver refused something. IOMMUFD turns the kind into an errno, at one place.
public struct DriverError: Error, Sendable {
  public enum Kind: Sendable {
    case invalid
    case notSupported
    case outOfMemory
    case badAddress
    case exists
    case notFound
    case inputOutput
    case busy
    case tooBig
    case outOfRange
    case addressInUse
    case noDevice
    case notEncodable
    case notPermitted
  }

  public let kind: Kind
  /// For the trace: a clause that completes "refused because ...".
  public let rule: StaticString

  @inlinable
  public init(_ kind: Kind, because rule: StaticString) {
    self.kind = kind
    self.rule = rule
  }
}
