import CKernelABI
import Clients

/// What a call answered: its numbers, or why it was refused.
enum Outcome: Equatable {
  case answered([UInt64])
  case refused(Errno)

  static var done: Self { .answered([]) }
  static func answered(_ numbers: UInt32...) -> Self { .answered(numbers.map { UInt64($0) }) }

  /// Runs a call of the client.
  static func of(_ body: () throws(Refusal) -> [UInt64]) -> Self {
    do throws(Refusal) { return .answered(try body()) } catch { return .refused(error.errno) }
  }
}

/// The rules of the interface for address spaces, as plainly as they can be written: lists that are
/// searched from the start, and everything derived anew each time.
struct AddressSpaceOracle {
  /// What one map call took; copies share it, and its pages are pinned once however many do.
  final class Source {
    /// The process's address of its first page; a file counts by its view in the process.
    let base: UInt64
    /// What the choice of an automatic address looks at: the address, or the offset in the file.
    let hint: UInt64
    let isWritable: Bool

    init(base: UInt64, hint: UInt64, isWritable: Bool) {
      self.base = base
      self.hint = hint
      self.isWritable = isWritable
    }
  }

  /// Bytes of a source, from `startByte` of its first page on.
  struct Slice {
    var source: Source
    var startByte: UInt64
    var length: UInt64
    var pages: ClosedRange<UInt64> {
      (source.base + startByte) >> 12...(source.base + startByte + length - 1) >> 12
    }
  }

  struct Mapping {
    var start: UInt64
    var slice: Slice
    var last: UInt64 { start + (slice.length - 1) }
  }

  struct Table {
    var id: UInt32
    var space: UInt32
    var isAutomatic = false
  }

  struct Device {
    var object: UInt32
    var id: UInt32
    var table: UInt32
  }

  struct Space {
    var id: UInt32
    /// In the order of their addresses.
    var mappings: [Mapping] = []
    var allowed: [ClosedRange<UInt64>] = []
    var reservedByTest: [ClosedRange<UInt64>] = []
    var isWithoutLargePages = false
  }

  /// Process memory that can be pinned, and whether for writing.
  let memory: [(pages: ClosedRange<UInt64>, isWritable: Bool)]
  var spaces: [Space] = []
  var tables: [Table] = []
  var devices: [Device] = []

  // MARK: derived facts

  var usedIDs: Set<UInt32> {
    Set(spaces.map(\.id) + tables.map(\.id) + devices.flatMap { [$0.object, $0.id] })
  }

  func freeIDs(_ count: Int) -> [UInt32] {
    let used = usedIDs
    return Array((UInt32(1)...10000).lazy.filter { !used.contains($0) }.prefix(count))
  }

  func index(ofSpace id: UInt32) -> Int? { spaces.firstIndex { $0.id == id } }
  func hasTable(_ space: UInt32) -> Bool { tables.contains { $0.space == space } }

  func alignment(_ space: Space) -> UInt64 {
    max(hasTable(space.id) ? MOCK_PAGE_SIZE : 1, space.isWithoutLargePages ? 4096 : 1)
  }

  static var outsideAperture: [ClosedRange<UInt64>] {
    [0...MOCK_APERTURE_START - 1, MOCK_APERTURE_LAST + 1 ... .max]
  }

  func reserved(_ space: Space) -> [ClosedRange<UInt64>] {
    space.reservedByTest + (hasTable(space.id) ? Self.outsideAperture : [])
  }

  func isPinnable(_ slice: Slice) -> Bool {
    slice.pages.allSatisfy { page in
      memory.contains { $0.pages.contains(page) && ($0.isWritable || !slice.source.isWritable) }
    }
  }

  /// By page of the process: how many sources pin it.
  var pins: [UInt64: UInt32] {
    var pages: [ObjectIdentifier: Set<UInt64>] = [:]
    for space in spaces where hasTable(space.id) {
      for mapping in space.mappings {
        pages[ObjectIdentifier(mapping.slice.source), default: []].formUnion(mapping.slice.pages)
      }
    }
    var counts: [UInt64: UInt32] = [:]
    for page in pages.values.joined() { counts[page, default: 0] += 1 }
    return counts
  }

  /// Sorted, with what touches joined.
  static func merged(_ ranges: [ClosedRange<UInt64>]) -> [ClosedRange<UInt64>] {
    var result: [ClosedRange<UInt64>] = []
    for range in ranges.sorted(by: { $0.lowerBound < $1.lowerBound }) {
      if let last = result.last,
        last.upperBound == .max || range.lowerBound <= last.upperBound + 1
      {
        result[result.count - 1] = last.lowerBound...max(last.upperBound, range.upperBound)
      } else {
        result.append(range)
      }
    }
    return result
  }

  static func holes(
    of ranges: [ClosedRange<UInt64>], in window: ClosedRange<UInt64>
  ) -> [ClosedRange<UInt64>] {
    var result: [ClosedRange<UInt64>] = []
    var next = window.lowerBound
    for range in merged(ranges) where range.overlaps(window) {
      if range.lowerBound > next { result.append(next...range.lowerBound - 1) }
      guard range.upperBound < window.upperBound else { return result }
      next = range.upperBound + 1
    }
    return result + [next...window.upperBound]
  }

  // MARK: mapping

  mutating func map(
    _ id: UInt32, _ address: UInt64, _ length: UInt64, at iova: UInt64?, flags: UInt32
  ) -> Outcome {
    if let refusal = checkMap(length, iova, flags) { return .refused(refusal) }
    guard let space = index(ofSpace: id) else { return .refused(.ENOENT) }
    if address.addingReportingOverflow(length).overflow { return .refused(.EOVERFLOW) }
    if length == 0 || length > .max - 4096 { return .refused(.EINVAL) }
    let base = address & ~4095
    let source = Source(
      base: base, hint: base, isWritable: flags & IOMMU_IOAS_MAP_WRITEABLE != 0)
    let slice = Slice(source: source, startByte: address & 4095, length: length)
    return insert([slice], length, into: space, at: iova, flags: flags)
  }

  /// `view` is where the process sees the file.
  mutating func mapFile(
    _ id: UInt32, view: UInt64, _ start: UInt64, _ length: UInt64, at iova: UInt64?, flags: UInt32
  ) -> Outcome {
    if let refusal = checkMap(length, iova, flags) { return .refused(refusal) }
    guard let space = index(ofSpace: id) else { return .refused(.ENOENT) }
    if length == 0 { return .refused(.EINVAL) }
    let source = Source(
      base: view + start & ~4095, hint: start & ~4095,
      isWritable: flags & IOMMU_IOAS_MAP_WRITEABLE != 0)
    let slice = Slice(source: source, startByte: start & 4095, length: length)
    return insert([slice], length, into: space, at: iova, flags: flags)
  }

  private func checkMap(_ length: UInt64, _ iova: UInt64?, _ flags: UInt32) -> Errno? {
    if flags & ~7 != 0 { return .EOPNOTSUPP }
    if iova == .max || length == .max { return .EOVERFLOW }
    return flags & 6 == 0 ? .EINVAL : nil
  }

  /// What a copy takes, or why it cannot.
  func slices(
    _ space: Space, _ iova: UInt64, _ length: UInt64
  ) -> (slices: [Slice], refusal: Errno?) {
    if length == 0 { return ([], .EINVAL) }
    let (last, overflow) = iova.addingReportingOverflow(length - 1)
    if overflow { return ([], .EOVERFLOW) }
    var slices: [Slice] = []
    var next = iova
    for mapping in space.mappings where mapping.last >= next && mapping.start <= last {
      guard mapping.start <= next else { break }
      var slice = mapping.slice
      slice.startByte += next - mapping.start
      slice.length = min(last, mapping.last) - next + 1
      slices.append(slice)
      guard mapping.last < last else { return (slices, nil) }
      next = mapping.last + 1
    }
    return ([], .ENOENT)
  }

  mutating func copy(
    _ source: UInt32, _ sourceIOVA: UInt64, _ length: UInt64, to target: UInt32, at iova: UInt64?,
    flags: UInt32
  ) -> Outcome {
    if flags & ~7 != 0 { return .refused(.EOPNOTSUPP) }
    if length == .max || sourceIOVA == .max || iova == .max { return .refused(.EOVERFLOW) }
    if flags & 6 == 0 { return .refused(.EINVAL) }
    guard let from = index(ofSpace: source) else { return .refused(.ENOENT) }
    let (slices, refusal) = slices(spaces[from], sourceIOVA, length)
    if let refusal { return .refused(refusal) }
    guard let space = index(ofSpace: target) else { return .refused(.ENOENT) }
    return insert(slices, length, into: space, at: iova, flags: flags)
  }

  /// Puts slices back to back, all or none.
  private mutating func insert(
    _ slices: [Slice], _ length: UInt64, into index: Int, at fixed: UInt64?, flags: UInt32
  ) -> Outcome {
    let space = spaces[index]
    let alignment = alignment(space)
    guard length % alignment == 0 else { return .refused(.EINVAL) }
    var iova: UInt64
    if let fixed {
      guard fixed % alignment == 0 else { return .refused(.EINVAL) }
      let (last, overflow) = fixed.addingReportingOverflow(length - 1)
      if overflow { return .refused(.EOVERFLOW) }
      if reserved(space).contains(where: { $0.overlaps(fixed...last) }) { return .refused(.EINVAL) }
      if space.mappings.contains(where: { $0.start <= last && $0.last >= fixed }) {
        return .refused(.EEXIST)
      }
      iova = fixed
    } else {
      let hint = slices[0].source.hint + slices[0].startByte
      let choice = chooseIOVA(space, length, hint)
      guard let place = choice.iova else { return .refused(choice.refusal) }
      iova = place
    }
    let start = iova
    for slice in slices {
      if flags & IOMMU_IOAS_MAP_WRITEABLE != 0, !slice.source.isWritable {
        return .refused(.EPERM)
      }
      if slice.startByte & 4095 & (alignment - 1) != 0 { return .refused(.EINVAL) }
    }
    if hasTable(space.id), !slices.allSatisfy(isPinnable) { return .refused(.EFAULT) }
    for slice in slices {
      spaces[index].mappings.append(Mapping(start: iova, slice: slice))
      iova &+= slice.length
    }
    spaces[index].mappings.sort { $0.start < $1.start }
    return .answered([start])
  }

  /// The lowest place that fits.
  func chooseIOVA(
    _ space: Space, _ length: UInt64, _ hint: UInt64
  ) -> (iova: UInt64?, refusal: Errno) {
    if length >= .max / 2 { return (nil, .EOVERFLOW) }
    var step: UInt64 = 1
    while step < length { step *= 2 }
    if hint != 0 { step = min(step, 1 << UInt64(hint.trailingZeroBitCount)) }
    step = min(step, 2 << 20)
    if step < alignment(space) { return (nil, .EINVAL) }

    func fit(_ range: ClosedRange<UInt64>) -> UInt64? {
      let (sum, overflow) = range.lowerBound.addingReportingOverflow(step - 1)
      if overflow { return nil }
      // The page offset is put in, not added: it may be there already.
      let start = sum & ~(step - 1) | hint & 4095
      return start < range.upperBound && range.upperBound - start >= length - 1 ? start : nil
    }

    let whole: ClosedRange<UInt64> = 4096...(.max - 4096)
    let used = reserved(space) + space.mappings.map { $0.start...$0.last }
    for range in space.allowed.isEmpty ? [whole] : Self.merged(space.allowed)
    where range.overlaps(whole) {
      let window = range.clamped(to: whole)
      guard let first = fit(window) else { continue }
      for hole in Self.holes(of: used, in: first...window.upperBound) {
        if let place = fit(hole) { return (place, .EINVAL) }
      }
    }
    return (nil, .ENOSPC)
  }

  mutating func unmap(_ id: UInt32, _ iova: UInt64, _ length: UInt64) -> Outcome {
    guard let space = index(ofSpace: id) else { return .refused(.ENOENT) }
    let isEverything = iova == 0 && length == .max
    var last = UInt64.max
    if !isEverything {
      if iova == .max || length == .max { return .refused(.EOVERFLOW) }
      if length == 0 { return .refused(.EINVAL) }
      let (sum, overflow) = iova.addingReportingOverflow(length - 1)
      if overflow { return .refused(.EOVERFLOW) }
      last = sum
    }
    var removed: UInt64 = 0
    while let next = spaces[space].mappings.firstIndex(where: {
      $0.start <= last && $0.last >= iova
    }) {
      let mapping = spaces[space].mappings[next]
      // What came before the one that is cut stays removed.
      if mapping.start < iova || mapping.last > last { return .refused(.ENOENT) }
      removed += mapping.slice.length
      spaces[space].mappings.remove(at: next)
    }
    return removed == 0 && !isEverything ? .refused(.ENOENT) : .answered([removed])
  }
}
