internal import Hardware
internal import IOMMUCore

extension Context {
  /// All that a client could find out about the context, as text: equal before and after a call
  /// that failed.
  public var snapshot: String {
    var lines = ["context accounting=\(accounting) vfio=\(compatibilitySpace?.id ?? 0)"]
    for object in objects.objects {
      lines.append("\(object.id) \(type(of: object)) users=\(object.users)")
      if let space = object as? IOAddressSpace { lines += space.snapshotLines }
      if let device = object as? BoundDevice {
        for (pasid, attached) in device.group.tables.sorted(by: { $0.key < $1.key }) {
          lines.append("  pasid \(pasid) -> \(attached.table.id)")
        }
      }
    }
    lines.append("next id \(objects.nextID)")
    return lines.joined(separator: "\n")
  }
}

extension IOAddressSpace {
  fileprivate var snapshotLines: [String] {
    var lines = ["  alignment=\(alignment) domains=\(domains.count) accesses=\(accesses.count)"]
    reserved.forEachHole(in: 0...(.max)) {
      lines.append("  usable \($0)")
      return true
    }
    lines += allowed.ranges.map { "  allowed \($0)" }
    forEachArea { area in
      lines.append(
        "  area \(area.iova)...\(area.last) byte=\(area.startByte) access=\(area.access.rawValue)"
          + " filled=\(area.isFilled) held=\(area.accessCount) pinned=\(area.pages.pinnedCount)")
      for domain in domains {
        let first = domain.physicalAddress(of: IOVirtualAddress(area.iova))
        let last = domain.physicalAddress(of: IOVirtualAddress(area.last))
        lines.append("    \(first?.rawValue ?? 0) \(last?.rawValue ?? 0)")
      }
    }
    return lines
  }
}
