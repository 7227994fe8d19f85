/// Why bytes of a client could not be reached.
public enum MemoryFault: Error, Equatable, Sendable {
  /// Nothing is mapped there, or it may not be accessed so.
  case notAccessible
  /// The process or file that owned the bytes has ended, or other memory has taken their place.
  case gone
}

/// Why pages could not be pinned.
public enum PinError: Error, Equatable, Sendable {
  /// The machine's physical addresses are used up.
  case addressesExhausted
}

/// The bytes behind a source of pages: the private memory of a process, or a file.
public protocol MemoryBacking: AnyObject {
  /// Copies `bytes.count` bytes at `offset` out.
  func read(at offset: UInt64, into bytes: UnsafeMutableRawBufferPointer) throws(MemoryFault)
  /// Copies bytes in at `offset`.
  func write(at offset: UInt64, from bytes: UnsafeRawBufferPointer) throws(MemoryFault)
}

/// Pages that lie one behind the other in physical memory.
public struct PhysicalRun: Equatable, BitwiseCopyable, Sendable {
  public var base: PhysicalAddress
  public var pageCount: UInt64

  public init(base: PhysicalAddress, pageCount: UInt64) {
    self.base = base
    self.pageCount = pageCount
  }
}

/// Something that pages are taken from: one address space's private memory, or one file.
///
/// A page of a source has one physical address however many mappings pin it, and one pin count.
/// Addresses are given out per aligned chunk of 1 GiB, so that large leaves fit; a chunk goes back with
/// its last pin. There must be one `MemorySource` per address space or inode.
public final class MemorySource {
  public let backing: any MemoryBacking
  private let memory: PhysicalMemory
  private var chunks: [UInt64: Chunk] = [:]
  private var lastIndex = UInt64.max
  private var lastChunk: Chunk?

  public init(backing: any MemoryBacking, in memory: PhysicalMemory) {
    self.backing = backing
    self.memory = memory
  }

  /// Whether any page is pinned.
  public var isPinned: Bool { !chunks.isEmpty }

  /// Pins `pageCount` pages from page number `firstPage` on and reports where they lie, in order. On an
  /// error nothing stays pinned.
  public func pin(
    firstPage: UInt64, pageCount: UInt64, _ report: (PhysicalRun) -> Void
  ) throws(PinError) {
    var page = firstPage
    let end = firstPage + pageCount
    while page < end {
      let index = page / Chunk.pages
      let chunk: Chunk
      do throws(PinError) {
        chunk = try makeChunk(index)
      } catch {
        if page > firstPage { unpin(firstPage: firstPage, pageCount: page - firstPage) }
        throw error
      }
      let count = min(end, (index + 1) * Chunk.pages) - page
      chunk.add(page % Chunk.pages, count: count)
      report(
        PhysicalRun(
          base: chunk.base.advanced(by: (page % Chunk.pages) << pageShift), pageCount: count))
      page += count
    }
  }

  /// Gives back one pin of each of the pages.
  public func unpin(firstPage: UInt64, pageCount: UInt64) {
    var page = firstPage
    let end = firstPage + pageCount
    while page < end {
      let index = page / Chunk.pages
      guard let chunk = chunk(index) else { preconditionFailure("unpinned a page that had no pin") }
      let count = min(end, (index + 1) * Chunk.pages) - page
      chunk.remove(page % Chunk.pages, count: count)
      if chunk.pinnedPages == 0 {
        memory.release(chunk.base)
        chunks[index] = nil
        lastChunk = nil
        lastIndex = .max
      }
      page += count
    }
  }

  /// How often a page is pinned.
  public func pinCount(page: UInt64) -> UInt32 {
    chunk(page / Chunk.pages)?.pinCount(page % Chunk.pages) ?? 0
  }

  /// Whether any of the pages is pinned.
  public func isPinned(firstPage: UInt64, pageCount: UInt64) -> Bool {
    guard !chunks.isEmpty, pageCount > 0 else { return false }
    let last = firstPage + (pageCount - 1)
    for (index, chunk) in chunks {
      let low = max(index * Chunk.pages, firstPage)
      let high = min(index * Chunk.pages + (Chunk.pages - 1), last)
      if low <= high, chunk.isPinned(low % Chunk.pages, through: high % Chunk.pages) { return true }
    }
    return false
  }

  /// The physical address of byte `offset`, or nil when nothing near it is pinned.
  public func physicalAddress(ofByte offset: UInt64) -> PhysicalAddress? {
    let page = offset >> pageShift
    guard let chunk = chunk(page / Chunk.pages) else { return nil }
    return chunk.base.advanced(by: offset % (Chunk.pages << pageShift))
  }

  /// The lowest pinned page and the end of the highest chunk with pins, in pages.
  public var pinnedBounds: (first: UInt64, end: UInt64)? {
    guard let first = chunks.keys.min(), let last = chunks.keys.max() else { return nil }
    return (first * Chunk.pages, (last + 1) * Chunk.pages)
  }

  private func chunk(_ index: UInt64) -> Chunk? {
    if index == lastIndex { return lastChunk }
    let chunk = chunks[index]
    if chunk != nil { (lastIndex, lastChunk) = (index, chunk) }
    return chunk
  }

  private func makeChunk(_ index: UInt64) throws(PinError) -> Chunk {
    if let chunk = chunk(index) { return chunk }
    let chunk = Chunk(base: try memory.allocate(for: self, chunk: index))
    chunks[index] = chunk
    (lastIndex, lastChunk) = (index, chunk)
    return chunk
  }
}

/// 1 GiB of a source that has physical addresses, and how often each page of it is pinned.
private final class Chunk {
  static var pages: UInt64 { 1 << 18 }
  private static var groupPages: UInt64 { 512 }

  /// Pin counts of 2 MiB: one for all pages, until they differ.
  private enum Group {
    case uniform(UInt32)
    case each([UInt32])
  }

  let base: PhysicalAddress
  private(set) var pinnedPages: UInt64 = 0
  private var groups: [Group]

  init(base: PhysicalAddress) {
    self.base = base
    groups = Array(repeating: .uniform(0), count: Int(Self.pages / Self.groupPages))
  }

  func add(_ page: UInt64, count: UInt64) {
    change(page, count: count) { $0 += 1 }
    pinnedPages += count
  }

  func remove(_ page: UInt64, count: UInt64) {
    change(page, count: count) {
      precondition($0 > 0, "unpinned a page that had no pin")
      $0 -= 1
    }
    pinnedPages -= count
  }

  func pinCount(_ page: UInt64) -> UInt32 {
    switch groups[Int(page / Self.groupPages)] {
    case .uniform(let count): count
    case .each(let counts): counts[Int(page % Self.groupPages)]
    }
  }

  func isPinned(_ first: UInt64, through last: UInt64) -> Bool {
    var page = first
    while page <= last {
      let groupEnd = (page / Self.groupPages + 1) * Self.groupPages
      if case .uniform(let count) = groups[Int(page / Self.groupPages)] {
        if count > 0 { return true }
        page = groupEnd
      } else {
        if pinCount(page) > 0 { return true }
        page += 1
      }
    }
    return false
  }

  private func change(_ first: UInt64, count: UInt64, _ body: (inout UInt32) -> Void) {
    var page = first
    let end = first + count
    while page < end {
      let group = Int(page / Self.groupPages)
      let low = Int(page % Self.groupPages)
      let high = min(low + Int(end - page), Int(Self.groupPages))
      page += UInt64(high - low)
      if case .uniform(var value) = groups[group], high - low == Int(Self.groupPages) {
        body(&value)
        groups[group] = .uniform(value)
        continue
      }
      var counts: [UInt32]
      switch groups[group] {
      case .uniform(let value): counts = Array(repeating: value, count: Int(Self.groupPages))
      case .each(let present): counts = present
      }
      groups[group] = .uniform(0)  // Leaves `counts` the only owner: no copy.
      for index in low..<high { body(&counts[index]) }
      groups[group] = .each(counts)
    }
  }
}
