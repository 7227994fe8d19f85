/// A device's request for a page that is not there.
public struct PageRequest: Equatable, Sendable {
  /// The PASID, or nil for a request without one.
  public var pasid: UInt32?
  public var groupIndex: UInt32
  /// Access wanted, in the encoding of IOMMU_FAULT_PERM_*.
  public var permissions: UInt32
  public var address: UInt64
  public var isLast: Bool

  public init(
    pasid: UInt32?, groupIndex: UInt32, permissions: UInt32, address: UInt64, isLast: Bool
  ) {
    self.pasid = pasid
    self.groupIndex = groupIndex
    self.permissions = permissions
    self.address = address
    self.isLast = isLast
  }
}

public enum PageResponse: UInt32, Sendable {
  case success = 0
  case invalid = 1
  case failure = 2
}

/// Requests of one device that are answered together: the last one closes the group.
public final class PageRequestGroup {
  public let requests: [PageRequest]
  public let attachment: Attachment
  private unowned let device: any TranslatedDevice

  init(requests: [PageRequest], attachment: Attachment, device: any TranslatedDevice) {
    self.requests = requests
    self.attachment = attachment
    self.device = device
  }

  /// Answers the device.
  public func respond(_ response: PageResponse) {
    guard let last = requests.last else { return }
    device.pageResponse(to: last, response)
  }
}

/// Takes page requests for the domains it is set on.
public protocol PageRequestHandler: AnyObject {
  func handle(_ group: PageRequestGroup)
}
