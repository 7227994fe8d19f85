public import Clients
internal import IOMMUCore

/// The PASID that stands for requests without one.
private let noPASID: UInt32 = 0

extension BoundDevice {
  /// Attaches the device, or one of its PASIDs, to a table or to a space. Returns the table's
  /// number.
  public func attach(to id: UInt32, pasid: UInt32) throws(Refusal) -> UInt32 {
    let table = try changeTable(to: id, pasid: pasid, isReplacement: false)
    users += 1
    return table
  }

  /// Moves an attached device, or PASID, to another table or space without a gap.
  public func replace(with id: UInt32, pasid: UInt32) throws(Refusal) -> UInt32 {
    try changeTable(to: id, pasid: pasid, isReplacement: true)
  }

  /// Detaches; nothing happens when it is not attached.
  public func detach(pasid: UInt32) {
    guard let attached = group.tables[pasid] else { return }
    let table = attached.table
    group.tables[pasid]?.devices.removeAll { $0 === self }
    if group.tables[pasid]?.devices.isEmpty == true {
      let attachment = group.deviceGroup.attachment(pasid: key(pasid))
      if pasid == noPASID {
        group.deviceGroup.detach()
      } else {
        group.deviceGroup.detach(pasid: pasid)
      }
      if let attachment { table.faultQueue?.answerAll(from: attachment) }
      group.tables[pasid] = nil
    }
    if pasid == noPASID { table.paging.space.releaseRegions(of: device) }
    drop(table)
    users -= 1
  }

  /// PASIDs of the device's group that are attached.
  public var attachedPASIDs: [UInt32] { group.tables.keys.filter { $0 != noPASID }.sorted() }

  private func key(_ pasid: UInt32) -> UInt32? { pasid == noPASID ? nil : pasid }

  private func changeTable(
    to id: UInt32, pasid: UInt32, isReplacement: Bool
  ) throws(Refusal) -> UInt32 {
    let object: ContextObject = try context.object(id)
    switch object {
    case let table as HardwarePageTable:
      try move(to: table, pasid: pasid, isReplacement: isReplacement)
      return table.id
    case let space as IOAddressSpace:
      return try moveToAutomaticTable(of: space, pasid: pasid, isReplacement: isReplacement).id
    default:
      throw Refusal(.EINVAL, because: "the object is neither a page table nor a space")
    }
  }

  private func move(
    to table: HardwarePageTable, pasid: UInt32, isReplacement: Bool
  ) throws(Refusal) {
    if isReplacement {
      try replaceTable(with: table, pasid: pasid)
    } else {
      try attachTable(table, pasid: pasid)
    }
  }

  /// Uses a table that was made for the space earlier, or makes one.
  private func moveToAutomaticTable(
    of space: IOAddressSpace, pasid: UInt32, isReplacement: Bool
  ) throws(Refusal) -> PagingPageTable {
    for table in space.pageTables where table.isAutomatic {
      do throws(Refusal) {
        try move(to: table, pasid: pasid, isReplacement: isReplacement)
        return table
      } catch {
        // Only EINVAL says that this table does not suit the device.
        guard error.errno == .EINVAL else { throw error }
      }
    }
    let table: PagingPageTable
    if isReplacement {
      table = try PagingPageTable.make(for: space, self, [], nil)
      do throws(Refusal) {
        try replaceTable(with: table, pasid: pasid)
      } catch {
        context.abort(table)
        throw error
      }
    } else {
      table = try PagingPageTable.make(
        for: space, self, [], nil,
        attachFirst: { (table) throws(Refusal) in try attachTable(table, pasid: pasid) },
        undo: { undoAttach(pasid: pasid) })
    }
    table.isAutomatic = true
    context.publish(table)
    return table
  }

  private func undoAttach(pasid: UInt32) {
    users += 1  // `detach` drops what a completed attach has.
    detach(pasid: pasid)
  }

  /// Lets go of a table that this device no longer uses.
  private func drop(_ table: HardwarePageTable) {
    if let paging = table as? PagingPageTable, paging.isAutomatic {
      context.dropAndTryDestroy(paging)
    } else {
      table.users -= 1
    }
  }
}

extension BoundDevice {
  private func attachTable(_ table: HardwarePageTable, pasid: UInt32) throws(Refusal) {
    try context.failures.step()
    let present = group.tables[pasid]
    if let present {
      guard !present.devices.contains(where: { $0 === self }) else {
        throw Refusal(.EBUSY, because: "the device is attached already")
      }
      guard present.table === table else {
        throw Refusal(.EINVAL, because: "another device of the group is attached elsewhere")
      }
    }
    let space = table.paging.space
    if pasid == noPASID { try space.reserveRegions(of: device) }
    if present == nil {
      do throws(Refusal) {
        try requirePASIDCompatibility(of: table, pasid: pasid)
        try context.failures.step()
        try setDomain(of: table, pasid: pasid, isReplacement: false)
      } catch {
        if pasid == noPASID { space.releaseRegions(of: device) }
        throw error
      }
      group.tables[pasid] = ContextGroup.AttachedTable(table: table, devices: [])
    }
    group.tables[pasid]?.devices.append(self)
    table.users += 1
  }

  private func replaceTable(with table: HardwarePageTable, pasid: UInt32) throws(Refusal) {
    guard let present = group.tables[pasid],
      present.devices.contains(where: { $0 === self })
    else { throw Refusal(.EINVAL, because: "the device is not attached") }
    let old = present.table
    guard old !== table else { return }
    let space = table.paging.space
    let oldSpace = old.paging.space
    let movesRegions = pasid == noPASID && space !== oldSpace
    if movesRegions { try reserveRegions(of: present.devices, in: space) }
    let attachment = group.deviceGroup.attachment(pasid: key(pasid))
    do throws(Refusal) {
      try requirePASIDCompatibility(of: table, pasid: pasid)
      try context.failures.step()
      try setDomain(of: table, pasid: pasid, isReplacement: true)
    } catch {
      if movesRegions { for member in present.devices { space.releaseRegions(of: member.device) } }
      throw error
    }
    if let attachment { old.faultQueue?.answerAll(from: attachment) }
    if movesRegions { for member in present.devices { oldSpace.releaseRegions(of: member.device) } }
    group.tables[pasid]?.table = table
    table.users += present.devices.count
    old.users -= present.devices.count - 1
    drop(old)
  }

  private func reserveRegions(
    of devices: [BoundDevice], in space: IOAddressSpace
  ) throws(Refusal) {
    for (index, member) in devices.enumerated() {
      do throws(Refusal) {
        try space.reserveRegions(of: member.device)
      } catch {
        for done in devices[..<index] { space.releaseRegions(of: done.device) }
        throw error
      }
    }
  }

  /// Tables used beside PASIDs, or on one, must have been made for that.
  private func requirePASIDCompatibility(
    of table: HardwarePageTable, pasid: UInt32
  ) throws(Refusal) {
    if pasid == noPASID {
      guard table.isPASIDCompatible || attachedPASIDs.isEmpty else {
        throw Refusal(.EINVAL, because: "the table cannot be used beside PASIDs")
      }
      return
    }
    guard table.isPASIDCompatible else {
      throw Refusal(.EINVAL, because: "the table cannot be used for a PASID")
    }
    if let present = group.tables[noPASID], !present.table.isPASIDCompatible {
      throw Refusal(.EINVAL, because: "the device's own table cannot be used beside PASIDs")
    }
  }

  private func setDomain(
    of table: HardwarePageTable, pasid: UInt32, isReplacement: Bool
  ) throws(Refusal) {
    guard let domain = table.domain else { preconditionFailure("a page table has a domain") }
    let attachment = Attachment(domain: domain, holder: self)
    let target = group.deviceGroup
    try asRefusal { () throws(DriverError) in
      switch (key(pasid), isReplacement) {
      case (nil, false): try target.attach(attachment)
      case (nil, true): try target.replace(with: attachment)
      case (let pasid?, false): try target.attach(attachment, pasid: pasid)
      case (let pasid?, true): try target.replace(with: attachment, pasid: pasid)
      }
    }
  }
}
