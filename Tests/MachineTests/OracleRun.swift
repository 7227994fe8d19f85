import CKernelABI
import Clients
import Hardware
import Machine
import TestSupport

/// Random commands, answered by the machine and by the oracle.
final class OracleRun {
  static var readOnly: UInt64 { 0x2000_0000 }
  static var hole: UInt64 { 0x3000_0000 }
  static var view: UInt64 { 0x4000_0000 }
  static var fileBytes: UInt64 { 0x20000 }
  static var fileNumber: Int32 { 50 }

  let client: Client
  var oracle: AddressSpaceOracle
  var random: SeededRandom
  /// The last command, for the message of a failure.
  var command = ""
  /// A space that gets a device in the next step.
  private var plug: UInt32?

  init(seed: UInt64) throws {
    client = try Client()
    random = SeededRandom(seed: seed)
    let process = client.process
    let file = SimulatedFile(
      byteCount: Int(Self.fileBytes), memory: client.machine.physicalMemory)
    process.map(Self.readOnly, byteCount: 0x10000, isWritable: false)
    process.map(Self.view, byteCount: Self.fileBytes, file: file)
    client.caller.descriptors[Self.fileNumber] = .foreign(
      PassedFile(memory: file.source, handle: file))
    oracle = AddressSpaceOracle(memory: [
      (Client.buffer >> 12...(Client.buffer + 0xf_ffff) >> 12, true),
      (Self.readOnly >> 12...(Self.readOnly + 0xffff) >> 12, false),
      (Self.view >> 12...(Self.view + Self.fileBytes - 1) >> 12, true),
    ])
  }

  // MARK: choices

  func below(_ limit: UInt64) -> UInt64 { UInt64.random(in: 0..<limit, using: &random) }
  func chance(_ one: UInt64) -> Bool { below(one) == 0 }

  func space() -> AddressSpaceOracle.Space? {
    oracle.spaces.randomElement(using: &random)
  }

  func spaceID() -> UInt32 { chance(40) ? 9999 : space()?.id ?? 9999 }

  /// Fine where the space has no table, so that both kinds of spaces see mappings.
  func isFine(_ space: UInt32) -> Bool { !oracle.hasTable(space) && chance(4) }

  func length(fine: Bool) -> UInt64 {
    switch below(40) {
    case 0: return 0
    case 1: return chance(2) ? .max : .max - below(8192)
    case 2: return 2048 * (1 + below(9))
    case 3...6 where fine: return 1 + below(9000)
    case 7: return 1 + below(9000)
    default: return 4096 * (1 + below(8))
    }
  }

  func iova(_ id: UInt32, fine: Bool) -> UInt64 {
    let near = oracle.index(ofSpace: id).flatMap {
      oracle.spaces[$0].mappings.randomElement(using: &random)
    }
    switch below(40) {
    case 0: return chance(2) ? .max : .max - below(0x3000)
    case 1: return below(16) << 12
    case 2: return (MOCK_APERTURE_LAST - 0x3fff) + below(8) * 0x1000
    case 3...8: return MOCK_APERTURE_START + below(0x10_0000) & (fine ? .max : ~2047)
    case 9...14: return near.map { $0.last &+ 1 } ?? MOCK_APERTURE_START
    case 15...17: return near.map { $0.start } ?? MOCK_APERTURE_START
    default: return MOCK_APERTURE_START + below(0x100) << 12
    }
  }

  func address(fine: Bool) -> UInt64 {
    let offset = fine ? below(0xf_0000) : below(0xf0) << 12 | (chance(12) ? 2048 : 0)
    switch below(20) {
    case 0: return Self.hole + offset & 0xffff
    case 1, 2: return Self.readOnly + offset & 0xffff
    case 3: return Self.view + offset & 0xffff
    case 4 where chance(4): return 0
    case 5 where chance(4): return .max - offset & 0xffff
    default: return Client.buffer + offset
    }
  }

  func flags() -> UInt32 {
    switch below(30) {
    case 0: return 0
    case 1: return 6 | 8 << UInt32(below(8))
    case 2...7: return IOMMU_IOAS_MAP_READABLE
    default: return 6
    }
  }

  // MARK: steps

  /// Both answers to one command.
  func step() -> (machine: Outcome, oracle: Outcome) {
    let client = client
    if let target = plug {
      plug = nil
      return makeDevice(target)
    }
    switch below(100) {
    case 0..<4 where oracle.spaces.count < 4: return makeSpace()
    case 4..<30: return map()
    case 30..<36: return mapFile()
    case 36..<52: return unmap()
    case 52..<66: return copy()
    case 66..<70: return allow()
    case 70..<73:
      let id = spaceID()
      command = "IOVA_RANGES \(id)"
      let answer = Outcome.of { () throws(Refusal) in
        let answer = try client.ranges(id)
        return [answer.alignment] + answer.ranges.flatMap { [$0.lowerBound, $0.upperBound] }
      }
      return (answer, oracle.ranges(id))
    case 73..<77: return largePages()
    case 77: return reserve()
    case 78..<84 where oracle.devices.count < 5: return makeDevice(target())
    case 84..<87: return replace()
    case 87..<90 where oracle.tables.count < 5: return makeTable()
    case 90..<93: return destroy()
    default: return map()
    }
  }

  private func makeSpace() -> (machine: Outcome, oracle: Outcome) {
    command = "IOAS_ALLOC"
    // Most get a device while they are empty: what is mapped later then suits its table.
    plug = chance(4) ? nil : oracle.freeIDs(1)[0]
    let client = client
    let answer = Outcome.of { () throws(Refusal) in [UInt64(try client.makeSpace())] }
    return (answer, oracle.makeSpace())
  }

  private func map() -> (machine: Outcome, oracle: Outcome) {
    let id = spaceID()
    let fine = isFine(id)
    let address = address(fine: fine)
    let length = length(fine: fine)
    let place = chance(3) ? iova(id, fine: fine) : nil
    let flags = flags()
    // A source whose page count overflows makes Linux warn; its answer is no rule.
    guard length < 1 << 40 || length == .max || place == nil else { return step() }
    command = "MAP \(id) \(hex(address)) +\(hex(length)) at \(place.map(hex) ?? "-") \(flags)"
    let client = client
    let answer = Outcome.of { () throws(Refusal) in
      [try client.map(id, address, length, at: place, flags: flags)]
    }
    return (answer, oracle.map(id, address, length, at: place, flags: flags))
  }

  private func mapFile() -> (machine: Outcome, oracle: Outcome) {
    let id = spaceID()
    let fine = isFine(id)
    let length = min(length(fine: fine), 0x9000)
    let start = below(Self.fileBytes - 0x9000) & (fine ? .max : ~(chance(9) ? 2047 : 4095))
    let place = chance(3) ? iova(id, fine: fine) : nil
    let flags = flags()
    command = "MAP_FILE \(id) \(hex(start)) +\(hex(length)) at \(place.map(hex) ?? "-") \(flags)"
    let client = client
    let answer = Outcome.of { () throws(Refusal) in
      [try client.mapFile(id, Self.fileNumber, start, length, at: place, flags: flags)]
    }
    let expected = oracle.mapFile(
      id, view: Self.view, start, length, at: place, flags: flags)
    return (answer, expected)
  }

  private func unmap() -> (machine: Outcome, oracle: Outcome) {
    let id = spaceID()
    var iova = iova(id, fine: false)
    var length = length(fine: false)
    if chance(25) {
      (iova, length) = (0, .max)
    } else if let space = oracle.index(ofSpace: id), !chance(4),
      let mapping = oracle.spaces[space].mappings.randomElement(using: &random)
    {
      (iova, length) = (mapping.start, mapping.slice.length)
      if chance(5) { length += below(3) * 4096 }
      if chance(9) { iova &-= below(3) * 4096 }
      if chance(9) { length = length / 2 }
    }
    command = "UNMAP \(id) \(hex(iova)) +\(hex(length))"
    let client = client
    let answer = Outcome.of { () throws(Refusal) in [try client.unmap(id, iova, length)] }
    return (answer, oracle.unmap(id, iova, length))
  }

  private func copy() -> (machine: Outcome, oracle: Outcome) {
    let source = spaceID()
    let target = chance(3) ? source : spaceID()
    var from = iova(source, fine: false)
    var length = length(fine: false)
    if let space = oracle.index(ofSpace: source), !chance(6),
      let mapping = oracle.spaces[space].mappings.randomElement(using: &random)
    {
      (from, length) = (mapping.start, mapping.slice.length)
      if chance(2), length > 4096 {
        from += below(length >> 12) << 12
        length = max(1, (mapping.last - from) & ~4095)
      }
      if chance(3) { length += below(4) * 4096 }
    }
    // Slices that would lie at unaligned addresses below a table are beyond the rules.
    if let space = oracle.index(ofSpace: source), let to = oracle.index(ofSpace: target) {
      let alignment = oracle.alignment(oracle.spaces[to])
      let slices = oracle.slices(oracle.spaces[space], from, length).slices
      if slices.dropLast().contains(where: { $0.length % alignment != 0 }) { return step() }
    }
    let place = chance(3) ? iova(target, fine: false) : nil
    let flags = flags()
    command = "COPY \(source) \(hex(from)) +\(hex(length)) to \(target)"
    command += " at \(place.map(hex) ?? "-") \(flags)"
    let client = client
    let answer = Outcome.of { () throws(Refusal) in
      [try client.copy(source, from, length, to: target, at: place, flags: flags)]
    }
    return (answer, oracle.copy(source, from, length, to: target, at: place, flags: flags))
  }

  private func allow() -> (machine: Outcome, oracle: Outcome) {
    let id = spaceID()
    var pairs: [(start: UInt64, last: UInt64)] = []
    for _ in 0..<(chance(2) ? 0 : below(3)) {
      let start = iova(id, fine: false)
      pairs.append((start, chance(15) ? start : start &+ below(chance(2) ? 0x8000 : 0x80_0000)))
    }
    command = "ALLOW_IOVAS \(id) \(pairs.map { "\(hex($0.start))...\(hex($0.last))" })"
    let client = client
    let answer = Outcome.of { () throws(Refusal) in
      try client.allow(id, words: pairs.flatMap { littleEndian($0.start) + littleEndian($0.last) })
      return []
    }
    return (answer, oracle.allow(id, pairs))
  }

  private func largePages() -> (machine: Outcome, oracle: Outcome) {
    let id = spaceID()
    let value: UInt64? = chance(3) ? nil : chance(9) ? 2 : below(2)
    command = "HUGE_PAGES \(id) \(value.map(hex) ?? "get")"
    let client = client
    let answer = Outcome.of { () throws(Refusal) in
      [try client.option(IOMMU_OPTION_HUGE_PAGES, id, set: value)]
    }
    return (answer, value.map { oracle.setLargePages(id, $0) } ?? oracle.largePages(id))
  }

  private func reserve() -> (machine: Outcome, oracle: Outcome) {
    let id = spaceID()
    let start = iova(id, fine: false)
    let length = below(3) * 4096
    command = "ADD_RESERVED \(id) \(hex(start)) +\(hex(length))"
    let client = client
    let answer = Outcome.of { () throws(Refusal) in
      try client.reserve(id, start, length)
      return []
    }
    return (answer, oracle.reserve(id, start, length))
  }

  /// A space, mostly, or one of its tables.
  private func target() -> UInt32 {
    chance(4) ? oracle.tables.randomElement(using: &random)?.id ?? spaceID() : spaceID()
  }

  private func makeDevice(_ target: UInt32) -> (machine: Outcome, oracle: Outcome) {
    command = "MOCK_DOMAIN \(target)"
    let client = client
    let answer = Outcome.of { () throws(Refusal) in
      let ids = try client.makeDevice(on: target)
      return [UInt64(ids.object), UInt64(ids.table), UInt64(ids.device)]
    }
    return (answer, oracle.makeDevice(target))
  }

  private func replace() -> (machine: Outcome, oracle: Outcome) {
    let object = oracle.devices.randomElement(using: &random)?.object ?? 9999
    let target = target()
    command = "MOCK_DOMAIN_REPLACE \(object) \(target)"
    let client = client
    let answer = Outcome.of { () throws(Refusal) in [UInt64(try client.replace(object, target))] }
    return (answer, oracle.replace(object, target))
  }

  private func makeTable() -> (machine: Outcome, oracle: Outcome) {
    let device = oracle.devices.randomElement(using: &random)?.id ?? 9999
    let space = spaceID()
    let flags = chance(2) ? 0 : IOMMU_HWPT_ALLOC_NEST_PARENT
    command = "HWPT_ALLOC \(device) \(space) \(flags)"
    let client = client
    let answer = Outcome.of { () throws(Refusal) in
      [UInt64(try client.makeTable(device, space, flags: flags))]
    }
    return (answer, oracle.makeTable(device, space))
  }

  private func destroy() -> (machine: Outcome, oracle: Outcome) {
    // Spaces and what they hold live longer, or nothing would grow.
    let candidates =
      chance(4)
      ? oracle.usedIDs.sorted() : oracle.devices.map(\.object) + oracle.tables.map(\.id)
    return destroy(candidates.randomElement(using: &random) ?? 9999)
  }

  func destroy(_ id: UInt32) -> (machine: Outcome, oracle: Outcome) {
    command = "DESTROY \(id)"
    let client = client
    let answer = Outcome.of { () throws(Refusal) in
      try client.destroy(id)
      return []
    }
    return (answer, oracle.destroy(id))
  }

  private func hex(_ number: UInt64) -> String { "0x" + String(number, radix: 16) }
}

/// Comparisons of everything, between steps.
extension OracleRun {
  /// What differs in pin counts, or nil.
  func differenceInPins() -> String? {
    let pins = oracle.pins
    let total = pins.values.reduce(0) { $0 + Int($1) }
    if client.process.pinnedPages != total {
      return "pinned \(client.process.pinnedPages), expected \(total)"
    }
    for page in Client.buffer >> 12..<Client.buffer >> 12 + 256 {
      let count = client.process.privateMemory.pinCount(page: page)
      if count != pins[page] ?? 0 { return "page \(page): \(count) pins, not \(pins[page] ?? 0)" }
    }
    return nil
  }

  /// What differs for the mock's own check of pins, or nil: it sees files and read-only memory too.
  func differenceInReferences() -> String? {
    let pins = oracle.pins
    for page in oracle.memory.flatMap({ Array($0.pages) }) {
      let client = client
      let refusal = client.errno { () throws(Refusal) in
        try client.checkRefs(page << 12, 4096, pins[page] ?? 0)
      }
      if let refusal { return "MD_CHECK_REFS of page \(page): \(refusal)" }
    }
    return nil
  }

  /// What differs in translations, or nil: every granule of the mock, and what is beside mappings.
  func differenceInTranslations() -> String? {
    let client = client
    for table in oracle.tables {
      guard let space = oracle.spaces.first(where: { $0.id == table.space }) else { continue }
      for mapping in space.mappings {
        for offset in stride(from: 0, to: mapping.slice.length, by: 2048) {
          let address = mapping.slice.source.base + mapping.slice.startByte + offset
          let refusal = client.errno { () throws(Refusal) in
            try client.checkMap(table.id, mapping.start + offset, 2048, address)
          }
          if let refusal { return "table \(table.id) at \(mapping.start + offset): \(refusal)" }
        }
        let beyond = mapping.last + 1
        guard !space.mappings.contains(where: { $0.start == beyond }) else { continue }
        let refusal = client.errno { () throws(Refusal) in
          try client.checkMap(table.id, beyond, 2048, Client.buffer)
        }
        if refusal != .EINVAL { return "table \(table.id) translates \(beyond)" }
      }
    }
    return nil
  }
}
