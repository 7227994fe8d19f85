public import CKernelABI
public import Clients
internal import Hardware
internal import IOMMUCore

/// IOMMU_HWPT_GET_DIRTY_BITMAP: sets a bit for each page of a range that was written to.
public enum GetDirtyBitmapCommand: IoctlCommand {
  public static var number: UInt32 { IOMMUFD_CMD_HWPT_GET_DIRTY_BITMAP }
  public static var minimumBytes: Int { 48 }
  public static var zero: iommu_hwpt_get_dirty_bitmap { iommu_hwpt_get_dirty_bitmap() }

  public static func execute(
    _ argument: inout iommu_hwpt_get_dirty_bitmap, _ call: Call
  ) throws(Refusal) -> Int64 {
    guard argument.flags & ~IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR == 0, argument.reserved == 0
    else { throw Refusal(.EOPNOTSUPP, because: "a flag is unknown or a reserved word not zero") }
    let table: PagingPageTable = try call.context.object(argument.hwpt_id)
    let last = try check(argument, alignment: table.space.alignment)
    guard let domain = table.pagingDomain, domain.hasDirtyTracking else {
      throw Refusal(.EOPNOTSUPP, because: "the page table was made without dirty tracking")
    }
    try call.context.failures.step()
    var bitmap = ClientBitmap(
      address: argument.data, firstPage: argument.iova, lastByte: last,
      pageBytes: argument.page_size, caller: call.caller)
    let clear = argument.flags & IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR == 0
    // Like Linux: what ends the collection early, a gap or memory that cannot be written, is not
    // reported.
    try? table.space.forEachContiguousArea(argument.iova, last) {
      (area, first, last) throws(Refusal) in
      try asRefusal { () throws(DriverError) in
        try domain.readDirty(
          IOVirtualAddress(first), byteCount: last - first + 1, clear: clear
        ) { start, byteCount in bitmap.set(start.rawValue, byteCount: byteCount) }
      }
    }
    bitmap.flush()
    return 0
  }

  private static func check(
    _ argument: iommu_hwpt_get_dirty_bitmap, alignment: UInt64
  ) throws(Refusal) -> UInt64 {
    guard argument.length > 0 else { throw Refusal(.EINVAL, because: "the length is zero") }
    guard let last = lastByte(of: argument.iova, argument.length) else {
      throw Refusal(.EOVERFLOW, because: "the range does not fit 64 bits")
    }
    let unaligned = { (unit: UInt64) in (argument.iova | (last &+ 1)) & (unit &- 1) != 0 }
    guard !unaligned(alignment), argument.page_size != 0, !unaligned(argument.page_size) else {
      throw Refusal(.EINVAL, because: "the range is not aligned to the bitmap's pages")
    }
    return last
  }
}

/// Sets bits in the caller's memory, collecting those of one page of it.
private struct ClientBitmap {
  private let address: UInt64
  private let firstPage: UInt64
  private let lastByte: UInt64
  private let shift: UInt64
  private let caller: any Caller
  /// The part of the bitmap that is held here, and what it was there.
  private var windowStart: UInt64 = 0
  private var window: [UInt8] = []
  /// A part that could not be read; its bits are lost, as in Linux.
  private var isLost = false

  init(
    address: UInt64, firstPage: UInt64, lastByte: UInt64, pageBytes: UInt64, caller: any Caller
  ) {
    self.address = address
    self.firstPage = firstPage
    self.lastByte = lastByte
    shift = UInt64(pageBytes.trailingZeroBitCount)
    self.caller = caller
  }

  mutating func set(_ start: UInt64, byteCount: UInt64) {
    // A leaf can begin before the range, or end behind it.
    let low = max(start, firstPage)
    let high = min(start &+ (byteCount - 1), lastByte)
    guard low <= high else { return }
    var bit = (low - firstPage) >> shift
    let lastBit = (high - firstPage) >> shift
    while bit <= lastBit {
      let byte = bit / 8
      load(byte)
      let windowEnd = (windowStart + UInt64(window.count)) * 8 - 1
      let end = min(lastBit, windowEnd)
      if !isLost {
        for index in bit...end {
          window[Int(index / 8 - windowStart)] |= 1 << UInt8(index % 8)
        }
      }
      bit = end + 1
    }
  }

  private mutating func load(_ byte: UInt64) {
    if byte >= windowStart, byte < windowStart + UInt64(window.count) { return }
    flush()
    let total = ((lastByte - firstPage) >> shift) / 8 + 1
    windowStart = byte
    let toPageEnd = pageBytes - (address &+ byte) % pageBytes
    window = [UInt8](repeating: 0, count: Int(min(toPageEnd, total - byte)))
    isLost = false
    do throws(Refusal) {
      try caller.load(into: &window, at: address &+ byte)
    } catch {
      isLost = true
    }
  }

  mutating func flush() {
    defer { window = [] }
    guard !window.isEmpty, !isLost else { return }
    try? caller.store(window, at: address &+ windowStart)
  }
}
