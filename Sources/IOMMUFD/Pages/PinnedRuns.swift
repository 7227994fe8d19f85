internal import Hardware

/// Where the pinned pages of a `Pages` object lie, by page index.
struct PinnedRuns: ~Copyable {
  /// Pages of one source, one behind the other in it and in physical memory.
  @safe struct Run: BitwiseCopyable {
    var first: UInt64
    var last: UInt64
    var source: Unmanaged<MemorySource>
    var sourcePage: UInt64
    var base: PhysicalAddress

    /// The part of the run that lies in `low...high`.
    func clipped(_ low: UInt64, _ high: UInt64) -> Self {
      var part = self
      part.first = max(first, low)
      part.last = min(last, high)
      part.sourcePage += part.first - first
      part.base = base.advanced(by: (part.first - first) << pageShift)
      return part
    }
  }

  private var single: Run?
  private var runs: Tree?

  private final class Tree {
    var map = IntervalMap<Run>()
  }

  deinit {
    precondition(single == nil && runs == nil, "pages were dropped while pinned")
  }

  /// Records a pin of `pageCount` pages and keeps their source alive.
  mutating func insert(
    first: UInt64, pageCount: UInt64, source: MemorySource, sourcePage: UInt64,
    base: PhysicalAddress
  ) {
    let run = unsafe Run(
      first: first, last: first + pageCount - 1, source: .passRetained(source),
      sourcePage: sourcePage, base: base)
    insert(run)
  }

  private mutating func insert(_ run: Run) {
    if runs == nil {
      guard let present = single else {
        single = run
        return
      }
      let tree = Tree()
      tree.map.insert(start: present.first, last: present.last, value: present)
      single = nil
      runs = tree
    }
    runs?.map.insert(start: run.first, last: run.last, value: run)
  }

  /// Calls `body` with the runs of `first...last`, clipped to it, in order, until it returns false.
  func forEach(_ first: UInt64, _ last: UInt64, _ body: (Run) -> Bool) {
    if let single {
      if single.first <= last, single.last >= first { _ = body(single.clipped(first, last)) }
      return
    }
    runs?.map.forEach(intersecting: first, last) { body($0.value.clipped(first, last)) }
  }

  /// Forgets the runs of `first...last` and unpins their pages.
  mutating func unpin(_ first: UInt64, _ last: UInt64) {
    while let run = takeFirst(first, last) {
      let part = run.clipped(first, last)
      if run.first < part.first { insert(keeping(run.clipped(run.first, part.first - 1))) }
      if run.last > part.last { insert(keeping(run.clipped(part.last + 1, run.last))) }
      unsafe part.source.takeUnretainedValue().unpin(
        firstPage: part.sourcePage, pageCount: part.last - part.first + 1)
      unsafe run.source.release()
    }
    if runs?.map.isEmpty == true { runs = nil }
  }

  private func keeping(_ run: Run) -> Run {
    _ = unsafe run.source.retain()
    return run
  }

  private mutating func takeFirst(_ first: UInt64, _ last: UInt64) -> Run? {
    if let present = single {
      guard present.first <= last, present.last >= first else { return nil }
      single = nil
      return present
    }
    guard let entry = runs?.map.first(intersecting: first, last) else { return nil }
    runs?.map.remove(startingAt: entry.start)
    return entry.value
  }
}
