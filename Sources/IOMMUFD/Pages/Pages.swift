internal import Clients
internal import Hardware
internal import IOMMUCore

/// The pages behind one map call, shared by every area made from it (kernel: iopt_pages).
///
/// A page is pinned while a domain maps it or an access holds it, once however many do.
final class Pages {
  enum Backing {
    /// Memory of a process from a page-aligned address on.
    case process(any ClientProcess, address: UInt64)
    /// A file from a page-aligned offset on.
    case file(PassedFile, start: UInt64)
    case exportedBuffer(ExportedBuffer, start: UInt64)
  }

  let backing: Backing
  let pageCount: UInt64
  let isWritable: Bool
  var account: Account
  private var coverage = Coverage()
  private var runs = PinnedRuns()
  /// Accesses by exact range: how many hold it.
  private var accesses: [PageRange: Int] = [:]
  /// Set when an exported buffer was revoked: nothing of it can be reached any more.
  private(set) var isRevoked = false
  private(set) var pinnedCount: UInt64 = 0
  /// The account that is being moved away from.
  var former: Account?
  private let environment: Environment

  struct PageRange: Hashable {
    var first: UInt64
    var last: UInt64
  }

  init(
    _ backing: Backing, startByte: UInt64, byteCount: UInt64, isWritable: Bool, account: Account,
    in environment: Environment
  ) {
    self.backing = backing
    // The kernel's rounding, which can wrap: areas check that they lie inside.
    pageCount = (byteCount &+ startByte &+ (pageBytes - 1)) / pageBytes
    self.isWritable = isWritable
    self.account = account
    self.environment = environment
    environment.livePages += 1
  }

  deinit {
    environment.livePages -= 1
  }

  var isFile: Bool { if case .file = backing { true } else { false } }
  var isExportedBuffer: Bool { exportedBuffer != nil }
  var exportedBuffer: ExportedBuffer? {
    if case .exportedBuffer(let buffer, _) = backing { buffer } else { nil }
  }

  /// The address or offset whose low bits a chosen IOVA should share.
  var alignmentHint: UInt64 {
    switch backing {
    case .process(_, let address): address
    case .file(_, let start), .exportedBuffer(_, let start): start
    }
  }
}

extension Pages {
  /// Adds a user of the pages `first...last` and pins those that had none. All or nothing.
  func acquire(_ first: UInt64, _ last: UInt64) throws(Refusal) {
    guard !isExportedBuffer else { return }
    try environment.failures.step()
    var pinned: UInt64 = 0
    do throws(Refusal) {
      try coverage.forEachUncovered(first, last) { (low, high) throws(Refusal) in
        try pin(low, high)
        pinned += high - low + 1
      }
      if pinned > 0 {
        try environment.failures.step()
        try account.charge(pinned)
        pinnedCount += pinned
      }
    } catch {
      coverage.forEachUncovered(first, last) { low, high in runs.unpin(low, high) }
      throw error
    }
    coverage.add(first, last)
  }

  /// Adds a user of pages that another one keeps pinned: cannot fail.
  func addUser(_ first: UInt64, _ last: UInt64) {
    guard !isExportedBuffer else { return }
    coverage.add(first, last)
  }

  /// Removes a user of the pages and unpins those that have none left.
  func release(_ first: UInt64, _ last: UInt64) {
    guard !isExportedBuffer else { return }
    var unpinned: UInt64 = 0
    coverage.remove(first, last) { low, high in
      runs.unpin(low, high)
      unpinned += high - low + 1
    }
    guard unpinned > 0 else { return }
    account.uncharge(unpinned)
    pinnedCount -= unpinned
  }

  private func pin(_ first: UInt64, _ last: UInt64) throws(Refusal) {
    try environment.failures.step(.EFAULT)
    var index = first
    let found = try extents(first, last, writable: isWritable)
    for position in 0..<found.count {
      let extent = found[position]
      var page = extent.offset >> pageShift
      do throws(PinError) {
        try extent.source.pin(firstPage: page, pageCount: extent.byteCount >> pageShift) { run in
          runs.insert(
            first: index, pageCount: run.pageCount, source: extent.source, sourcePage: page,
            base: run.base)
          index += run.pageCount
          page += run.pageCount
        }
      } catch {
        if index > first { runs.unpin(first, index - 1) }
        throw Refusal(.ENOMEM, because: "the machine has no physical addresses left")
      }
    }
  }

  /// What lies behind the pages now, in order.
  fileprivate func extents(
    _ first: UInt64, _ last: UInt64, writable: Bool
  ) throws(Refusal) -> Extents {
    let byteCount = (last - first + 1) << pageShift
    switch backing {
    case .process(let process, let address):
      var extents = Extents()
      do throws(MemoryFault) {
        try process.resolve(
          address &+ first << pageShift, byteCount: byteCount, writable: writable
        ) { extents.append($0) }
      } catch {
        throw Refusal(
          .EFAULT, because: "the process has no memory there, or it may not be accessed so")
      }
      return extents
    case .file(let file, let start):
      guard let memory = file.memory else {
        throw Refusal(.EINVAL, because: "the file is not memory, as a memfd is")
      }
      guard start + (last + 1) << pageShift <= file.handle.byteCount else {
        throw Refusal(.EINVAL, because: "the range ends behind the end of the file")
      }
      var extents = Extents()
      extents.append(
        SourceExtent(source: memory, offset: start + first << pageShift, byteCount: byteCount))
      return extents
    case .exportedBuffer:
      preconditionFailure("an exported buffer is not pinned")
    }
  }

  /// Where one page lies now.
  func presentExtent(_ page: UInt64, writable: Bool) throws(Refusal) -> SourceExtent {
    try extents(page, page, writable: writable)[0]
  }

  /// Where a pinned page lies.
  func pinnedExtent(_ page: UInt64) -> SourceExtent {
    var extent: SourceExtent?
    runs.forEach(page, page) { run in
      extent = unsafe SourceExtent(
        source: run.source.takeUnretainedValue(), offset: run.sourcePage << pageShift,
        byteCount: pageBytes)
      return false
    }
    guard let extent else { preconditionFailure("the page is not pinned") }
    return extent
  }

  func environmentStep(_ errno: Errno) throws(Refusal) { try environment.failures.step(errno) }

  /// Calls `body` with each physically contiguous stretch of `first...last`, which is acquired.
  func forEachRun(
    _ first: UInt64, _ last: UInt64,
    _ body: (_ first: UInt64, _ count: UInt64, PhysicalAddress) -> Bool
  ) {
    if case .exportedBuffer(let buffer, let start) = backing {
      _ = body(first, last - first + 1, buffer.base.advanced(by: start + first << pageShift))
      return
    }
    runs.forEach(first, last) { body($0.first, $0.last - $0.first + 1, $0.base) }
  }

  func revoke() { isRevoked = true }

  /// Whether the page is pinned.
  func isPinned(_ page: UInt64) -> Bool { coverage.isCovered(page) }
}

extension Pages {
  /// Holds `first...last` for an access.
  func addAccess(_ first: UInt64, _ last: UInt64) throws(Refusal) {
    let range = PageRange(first: first, last: last)
    if accesses[range] == nil { try acquire(first, last) }
    accesses[range, default: 0] += 1
  }

  func removeAccess(_ first: UInt64, _ last: UInt64) {
    let range = PageRange(first: first, last: last)
    guard let count = accesses[range] else {
      preconditionFailure("an access was removed that does not exist")
    }
    if count > 1 {
      accesses[range] = count - 1
    } else {
      accesses[range] = nil
      release(first, last)
    }
  }
}

/// Extents in order; the first one, mostly the only one, costs no array.
private struct Extents {
  private var first: SourceExtent?
  private var rest: [SourceExtent] = []

  var count: Int { first == nil ? 0 : rest.count + 1 }

  mutating func append(_ extent: SourceExtent) {
    if first == nil { first = extent } else { rest.append(extent) }
  }

  subscript(index: Int) -> SourceExtent {
    guard index == 0 else { return rest[index - 1] }
    guard let first else { preconditionFailure("pages lie nowhere") }
    return first
  }
}
