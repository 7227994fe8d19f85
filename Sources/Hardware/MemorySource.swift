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
/// Addresses are given out per aligned chunk of 1 GiB, so that large leaves fit; a chunk goes back
/// with its last pin. There must be one `MemorySource` per address space or inode.
public final class MemorySource {
  public let backing: any MemoryBacking
  private let memory: PhysicalMemory
  /// Sorted by index.
  private var chunks: [Place] = []
  /// A chunk that lost its last pin: mapping and unmapping the same page makes none anew.
  private var spare: Chunk?

  private struct Place {
    var index: UInt64
    var chunk: Chunk
  }

  public init(backing: any MemoryBacking, in memory: PhysicalMemory) {
    self.backing = backing
    self.memory = memory
  }

  /// Whether any page is pinned.
  public var isPinned: Bool { !chunks.isEmpty }

  /// Pins `pageCount` pages from page number `firstPage` on and reports where they lie, in order.
  /// On an error nothing stays pinned.
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
      let position = position(of: index)
      precondition(
        position < chunks.count && chunks[position].index == index,
        "unpinned a page that had no pin")
      let chunk = chunks[position].chunk
      let count = min(end, (index + 1) * Chunk.pages) - page
      chunk.remove(page % Chunk.pages, count: count)
      if chunk.pinnedPages == 0 {
        memory.release(chunk.base)
        chunks.remove(at: position)
        spare = chunk
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
    for place in chunks {
      let low = max(place.index * Chunk.pages, firstPage)
      let high = min(place.index * Chunk.pages + (Chunk.pages - 1), last)
      if low <= high, place.chunk.isPinned(low % Chunk.pages, through: high % Chunk.pages) {
        return true
      }
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
    guard let first = chunks.first, let last = chunks.last else { return nil }
    return (first.index * Chunk.pages, (last.index + 1) * Chunk.pages)
  }

  /// Where the chunk is, or would be.
  private func position(of index: UInt64) -> Int {
    var low = 0
    var high = chunks.count
    while low < high {
      let middle = (low + high) / 2
      if chunks[middle].index < index { low = middle + 1 } else { high = middle }
    }
    return low
  }

  private func chunk(_ index: UInt64) -> Chunk? {
    let position = position(of: index)
    guard position < chunks.count, chunks[position].index == index else { return nil }
    return chunks[position].chunk
  }

  private func makeChunk(_ index: UInt64) throws(PinError) -> Chunk {
    let position = position(of: index)
    if position < chunks.count, chunks[position].index == index { return chunks[position].chunk }
    let base = try memory.allocate(for: self, chunk: index)
    let chunk = spare ?? Chunk()
    spare = nil
    chunk.base = base
    chunks.insert(Place(index: index, chunk: chunk), at: position)
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

  var base = PhysicalAddress(0)
  private(set) var pinnedPages: UInt64 = 0
  private var groups: [Group] = Array(
    repeating: .uniform(0), count: Int(Chunk.pages / Chunk.groupPages))

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
