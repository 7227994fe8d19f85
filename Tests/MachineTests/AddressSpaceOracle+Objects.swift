import CKernelABI
import Clients

/// The part of the rules about what surrounds mappings: ranges, options, tables and devices.
extension AddressSpaceOracle {
  mutating func makeSpace() -> Outcome {
    let id = freeIDs(1)[0]
    spaces.append(Space(id: id))
    return .answered(id)
  }

  mutating func reserve(_ id: UInt32, _ start: UInt64, _ length: UInt64) -> Outcome {
    if length == 0 { return .refused(.EINVAL) }
    let (last, overflow) = start.addingReportingOverflow(length - 1)
    if overflow { return .refused(.EOVERFLOW) }
    guard let space = index(ofSpace: id) else { return .refused(.ENOENT) }
    if isInUse(spaces[space], start...last) { return .refused(.EADDRINUSE) }
    spaces[space].reservedByTest.append(start...last)
    return .done
  }

  /// Whether mappings or promises forbid to reserve a range.
  private func isInUse(_ space: Space, _ range: ClosedRange<UInt64>) -> Bool {
    space.mappings.contains { ($0.start...$0.last).overlaps(range) }
      || space.allowed.contains { $0.overlaps(range) }
  }

  mutating func allow(_ id: UInt32, _ pairs: [(start: UInt64, last: UInt64)]) -> Outcome {
    guard let space = index(ofSpace: id) else { return .refused(.ENOENT) }
    var ranges: [ClosedRange<UInt64>] = []
    for pair in pairs {
      if pair.start >= pair.last { return .refused(.EINVAL) }
      let range = pair.start...pair.last
      if ranges.contains(where: { $0.overlaps(range) }) { return .refused(.EINVAL) }
      ranges.append(range)
    }
    for range in ranges where reserved(spaces[space]).contains(where: { $0.overlaps(range) }) {
      return .refused(.EADDRINUSE)
    }
    spaces[space].allowed = ranges
    return .done
  }

  func ranges(_ id: UInt32) -> Outcome {
    guard let space = index(ofSpace: id) else { return .refused(.ENOENT) }
    let holes = Self.holes(of: reserved(spaces[space]), in: 0 ... .max)
    return .answered(
      [alignment(spaces[space])] + holes.flatMap { [$0.lowerBound, $0.upperBound] })
  }

  mutating func setLargePages(_ id: UInt32, _ value: UInt64) -> Outcome {
    guard let index = index(ofSpace: id) else { return .refused(.ENOENT) }
    let space = spaces[index]
    switch value {
    case 0:
      if space.isWithoutLargePages { return .answered([0]) }
      if hasTable(id), !space.mappings.isEmpty { return .refused(.EINVAL) }
      if !isAligned(space, to: 4096) { return .refused(.EADDRINUSE) }
      spaces[index].isWithoutLargePages = true
      return .answered([0])
    case 1:
      spaces[index].isWithoutLargePages = false
      return .answered([1])
    default: return .refused(.EINVAL)
    }
  }

  func largePages(_ id: UInt32) -> Outcome {
    guard let index = index(ofSpace: id) else { return .refused(.ENOENT) }
    return .answered([spaces[index].isWithoutLargePages ? 0 : 1])
  }

  private func isAligned(_ space: Space, to alignment: UInt64) -> Bool {
    space.mappings.allSatisfy {
      ($0.start | $0.slice.length | $0.slice.startByte & 4095) & (alignment - 1) == 0
    }
  }

  /// Why a space cannot get one more table, or nil.
  private func refusalOfTable(_ space: Space) -> Errno? {
    if !isAligned(space, to: max(MOCK_PAGE_SIZE, alignment(space))) { return .EADDRINUSE }
    if Self.outsideAperture.contains(where: { isInUse(space, $0) }) { return .EADDRINUSE }
    return space.mappings.allSatisfy { isPinnable($0.slice) } ? nil : .EFAULT
  }

  mutating func makeTable(_ device: UInt32, _ space: UInt32) -> Outcome {
    guard devices.contains(where: { $0.id == device }) else { return .refused(.ENOENT) }
    guard let index = index(ofSpace: space) else { return .refused(.EINVAL) }
    if let refusal = refusalOfTable(spaces[index]) { return .refused(refusal) }
    let id = freeIDs(1)[0]
    tables.append(Table(id: id, space: space))
    return .answered(id)
  }

  /// Finds or makes the table for a device: `target` is a space or a table.
  private mutating func table(for target: UInt32, newID: UInt32) -> (id: UInt32, refusal: Errno?) {
    if tables.contains(where: { $0.id == target }) { return (target, nil) }
    guard let index = index(ofSpace: target) else {
      return (0, usedIDs.contains(target) ? .EINVAL : .ENOENT)
    }
    if let table = tables.first(where: { $0.space == target && $0.isAutomatic }) {
      return (table.id, nil)
    }
    if let refusal = refusalOfTable(spaces[index]) { return (0, refusal) }
    tables.append(Table(id: newID, space: target, isAutomatic: true))
    return (newID, nil)
  }

  mutating func makeDevice(_ target: UInt32) -> Outcome {
    let free = freeIDs(3)
    let (table, refusal) = table(for: target, newID: free[2])
    if let refusal { return .refused(refusal) }
    devices.append(Device(object: free[0], id: free[1], table: table))
    return .answered(free[0], table, free[1])
  }

  mutating func replace(_ object: UInt32, _ target: UInt32) -> Outcome {
    guard let device = devices.firstIndex(where: { $0.object == object }) else {
      return .refused(.ENOENT)
    }
    let (table, refusal) = table(for: target, newID: freeIDs(1)[0])
    if let refusal { return .refused(refusal) }
    devices[device].table = table
    removeUnusedTables()
    return .answered(table)
  }

  /// An automatic table goes with its last device.
  private mutating func removeUnusedTables() {
    tables.removeAll { table in
      table.isAutomatic && !devices.contains { $0.table == table.id }
    }
  }

  mutating func destroy(_ id: UInt32) -> Outcome {
    if let index = index(ofSpace: id) {
      if hasTable(id) { return .refused(.EBUSY) }
      spaces.remove(at: index)
    } else if let index = tables.firstIndex(where: { $0.id == id }) {
      if devices.contains(where: { $0.table == id }) { return .refused(.EBUSY) }
      tables.remove(at: index)
    } else if let index = devices.firstIndex(where: { $0.object == id }) {
      devices.remove(at: index)
      removeUnusedTables()
    } else {
      return .refused(devices.contains { $0.id == id } ? .EBUSY : .ENOENT)
    }
    return .done
  }
}
