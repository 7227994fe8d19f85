/// A domain attached to a group or to one of its PASIDs, on behalf of somebody.
public final class Attachment {
  public let domain: Domain
  /// Whoever attached it: IOMMUFD's device object.
  public unowned let holder: AnyObject

  public init(domain: Domain, holder: AnyObject) {
    self.domain = domain
    self.holder = holder
  }
}

/// Devices that the topology cannot tell apart: they share every attachment.
public final class DeviceGroup {
  public private(set) var devices: [any TranslatedDevice] = []
  /// The one context that may use the group's devices.
  private var owner: ObjectIdentifier?
  private var ownerCount = 0

  private var attachment: Attachment?
  private var pasidAttachments: [UInt32: Attachment] = [:]
  /// Requests of groups that are not complete.
  private var partialRequests: [PageRequest] = []

  public init() {}

  public func add(_ device: any TranslatedDevice) { devices.append(device) }
  public func remove(_ device: any TranslatedDevice) { devices.removeAll { $0 === device } }

  /// Takes the group for one context; every device of it claims once.
  public func claim(for context: AnyObject) throws(DriverError) {
    if ownerCount > 0, owner != ObjectIdentifier(context) {
      throw DriverError(.notPermitted, because: "another context uses the group")
    }
    owner = ObjectIdentifier(context)
    ownerCount += 1
  }

  public func releaseClaim() {
    ownerCount -= 1
    if ownerCount == 0 { owner = nil }
  }

  public func attachment(pasid: UInt32?) -> Attachment? {
    guard let pasid else { return attachment }
    return pasidAttachments[pasid]
  }
}

extension DeviceGroup {
  /// Attaches the whole group.
  public func attach(_ new: Attachment) throws(DriverError) {
    guard attachment == nil else { throw DriverError(.busy, because: "the group is attached") }
    try setDomain(new.domain, old: nil)
    attachment = new
  }

  public func replace(with new: Attachment) throws(DriverError) {
    try setDomain(new.domain, old: attachment?.domain)
    attachment = new
  }

  /// Puts the group back into the blocked state.
  public func detach() {
    for device in devices {
      try? device.setDomain(nil, pasid: nil, replacing: attachment?.domain)
    }
    attachment = nil
  }

  public func attach(_ new: Attachment, pasid: UInt32) throws(DriverError) {
    for device in devices where device.pasidLimit > 0 && pasid >= device.pasidLimit {
      throw DriverError(.invalid, because: "the device has no such PASID")
    }
    guard pasidAttachments[pasid] == nil else {
      throw DriverError(.busy, because: "the PASID is attached")
    }
    try setDomain(new.domain, old: nil, pasid: pasid)
    pasidAttachments[pasid] = new
  }

  public func replace(with new: Attachment, pasid: UInt32) throws(DriverError) {
    guard let current = pasidAttachments[pasid] else {
      throw DriverError(.invalid, because: "the PASID is not attached")
    }
    if current.domain !== new.domain {
      try setDomain(new.domain, old: current.domain, pasid: pasid)
    }
    pasidAttachments[pasid] = new
  }

  public func detach(pasid: UInt32) {
    for device in devices where device.pasidLimit > 0 {
      try? device.setDomain(nil, pasid: pasid, replacing: pasidAttachments[pasid]?.domain)
    }
    pasidAttachments[pasid] = nil
  }

  /// Sets every device, or after a failure every device back.
  private func setDomain(
    _ domain: Domain, old: Domain?, pasid: UInt32? = nil
  ) throws(DriverError) {
    guard devices.allSatisfy({ ObjectIdentifier($0.driver) == domain.owner }) else {
      throw DriverError(.invalid, because: "the domain was made by another driver")
    }
    let affected = devices.filter { pasid == nil || $0.pasidLimit > 0 }
    for (index, device) in affected.enumerated() {
      do throws(DriverError) {
        try device.setDomain(domain, pasid: pasid, replacing: old)
      } catch {
        for done in affected[..<index] {
          try? done.setDomain(old, pasid: pasid, replacing: domain)
        }
        throw error
      }
    }
  }
}

extension DeviceGroup {
  /// A device of the group asks for a page: collects the group and hands it to the domain's
  /// handler, or tells the device that the request is invalid.
  public func report(_ request: PageRequest, from device: any TranslatedDevice) {
    guard let attachment = handlingAttachment(for: request, from: device),
      let handler = attachment.domain.pageRequestHandler
    else {
      device.pageResponse(to: request, .invalid)
      return
    }
    guard request.isLast else {
      partialRequests.append(request)
      return
    }
    let earlier = partialRequests.filter { $0.groupIndex == request.groupIndex }
    partialRequests.removeAll { $0.groupIndex == request.groupIndex }
    handler.handle(
      PageRequestGroup(requests: earlier + [request], attachment: attachment, device: device))
  }

  private func handlingAttachment(
    for request: PageRequest, from device: any TranslatedDevice
  ) -> Attachment? {
    guard let pasid = request.pasid else { return attachment }
    if let attachment = pasidAttachments[pasid] { return attachment }
    guard device.hasUserPASIDTable, let attachment, attachment.domain is NestedDomain else {
      return nil
    }
    return attachment
  }
}
