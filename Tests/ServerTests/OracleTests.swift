import TestSupport
import Testing

@testable import Server

@Suite("Bookkeeping without an operating system")
struct OracleTests {
  @Test(
    "written extents cover what was written, and nothing else while there is room",
    arguments: 0..<32 as Range<UInt64>)
  func writtenExtents(seed: UInt64) throws {
    var random = SeededRandom(seed: seed)
    var extents = WrittenExtents()
    var written = [Bool](repeating: false, count: 256)
    var hasOverflowed = false
    for step in 0..<40 {
      let start = Int.random(in: 0..<250, using: &random)
      let range = start..<min(256, start + Int.random(in: 1..<12, using: &random))
      for index in range { written[index] = true }
      extents.insert(range)

      var covered = [Bool](repeating: false, count: 256)
      for index in 0..<extents.count {
        if index > 0 {
          try #require(
            extents[index].lowerBound > extents[index - 1].upperBound,
            "seed \(seed), step \(step): extents touch")
        }
        for place in extents[index] { covered[place] = true }
      }
      let runs = zip(written, [false] + written).count { $0 && !$1 }
      hasOverflowed = hasOverflowed || runs > 8
      try #require(extents.count <= 8, "seed \(seed), step \(step)")
      for place in 0..<256 where written[place] {
        try #require(covered[place], "seed \(seed), step \(step), byte \(place)")
      }
      if !hasOverflowed {
        try #require(covered == written, "seed \(seed), step \(step)")
      }
    }
  }

  @Test("replacements agree with a generation per page", arguments: 0..<32 as Range<UInt64>)
  func replacements(seed: UInt64) throws {
    var random = SeededRandom(seed: seed)
    var replacements = Replacements()
    var oracle = [UInt64](repeating: 0, count: 64)
    for step in 0..<60 {
      let start = UInt64.random(in: 0..<60, using: &random)
      let end = UInt64.random(in: start + 1...64, using: &random)
      let taken = Set(oracle)
      var chosen: UInt64 = 0
      replacements.replace(start..<end) { generation in
        chosen = generation
        return taken.contains(generation)
      }
      for page in start..<end { oracle[Int(page)] = chosen }
      try #require(!taken.contains(chosen), "seed \(seed), step \(step): a name was used twice")

      var seen: [UInt64] = []
      replacements.forEach(in: 0..<64) { range, generation in
        seen += [UInt64](repeating: generation, count: range.count)
      }
      try #require(seen == oracle, "seed \(seed), step \(step)")
      let partStart = UInt64.random(in: 0..<32, using: &random)
      let part = partStart..<UInt64.random(in: 33..<64, using: &random)
      var inside: [UInt64] = []
      replacements.forEach(in: part) { range, generation in
        inside += [UInt64](repeating: generation, count: range.count)
      }
      try #require(
        inside == Array(oracle[Int(part.lowerBound)..<Int(part.upperBound)]),
        "seed \(seed), step \(step), part \(part)")
    }
  }

  @Test(
    "names below /proc are understood",
    arguments: [
      ("/proc/self/status", ProcPath.Subject.callingProcess, nil, ProcPath.Leaf.status),
      ("/proc/thread-self/fail-nth", .callingThread, nil, .failNth),
      ("/proc/12/status", .process(12), nil, .status),
      ("/proc/12/task/34/fail-nth", .process(12), 34, .failNth),
      ("/proc/self/task/7/fail-nth", .callingProcess, 7, .failNth),
    ] as [(String, ProcPath.Subject, Int32?, ProcPath.Leaf)])
  func procPaths(
    path: String, subject: ProcPath.Subject, thread: Int32?, leaf: ProcPath.Leaf
  ) throws {
    let parsed = try #require(ProcPath(path))
    #expect(parsed.subject == subject)
    #expect(parsed.thread == thread)
    #expect(parsed.leaf == leaf)
  }

  @Test(
    "other names are not ours",
    arguments: [
      "/proc/self/stat", "/proc/self/task/x/status", "/proc/012/status", "/proc/+1/status",
      "/proc/thread-self/task/1/status", "/proc/self/task/1", "/proc/status", "/proc//",
      "/proc/self/task/1/2/status", "/sys/self/status", "/proc/99999999999/status", "",
    ])
  func foreignPaths(path: String) {
    #expect(ProcPath(path) == nil)
  }

  @Test(
    "prefixes are matched as the channel documents them",
    arguments: [
      ("/dev/iommu", "/dev/iommu", true), ("/dev/iommu", "/dev/iommu2", false),
      ("/dev/vfio/", "/dev/vfio", true), ("/dev/vfio/", "/dev/vfio/a/b", true),
      ("/dev/vfio/", "/dev/vfiox", false), ("/proc/*/status", "/proc/1/status", true),
      ("/proc/*/status", "/proc//status", false), ("/proc/*/status", "/proc/1/2/status", false),
      ("/a/*/c/", "/a/b/c/d", true),
    ])
  func prefixes(prefix: String, path: String, isCovered: Bool) {
    #expect(matches(prefix, path) == isCovered)
  }
}
