import TestSupport
import Testing

@testable import IOMMUFD

@Suite("Interval map")
struct IntervalMapTests {
  /// Random changes against a sorted array, which cannot be wrong.
  @Test("agrees with a sorted array", arguments: 0..<24 as Range<UInt64>)
  func agreesWithOracle(seed: UInt64) throws {
    var random = SeededRandom(seed: seed)
    var map = IntervalMap<UInt32>()
    var oracle: [(start: UInt64, last: UInt64, value: UInt32)] = []
    let span: UInt64 = seed % 3 == 0 ? 300 : 40_000
    for step in 0..<4000 {
      let start = UInt64.random(in: 0..<span, using: &random)
      let last = start + UInt64.random(in: 0..<12, using: &random)
      let overlap = oracle.first { $0.start <= last && $0.last >= start }
      switch Int.random(in: 0..<10, using: &random) {
      case 0..<6:
        guard overlap == nil else { continue }
        map.insert(start: start, last: last, value: UInt32(step))
        let index = oracle.firstIndex { $0.start > start } ?? oracle.count
        oracle.insert((start, last, UInt32(step)), at: index)
      case 6..<8:
        let key = overlap?.start ?? start
        let index = oracle.firstIndex { $0.start == key }
        let removed = map.remove(startingAt: key)
        try #require(removed == index.map { oracle[$0].value }, "seed \(seed), step \(step)")
        if let index { oracle.remove(at: index) }
      default:
        let found = map.first(reaching: start)
        let expected = oracle.first { $0.last >= start }
        try #require(found?.start == expected?.start, "seed \(seed), step \(step)")
        try #require(found?.value == expected?.value, "seed \(seed), step \(step)")
        let before = map.lastInterval(before: start)
        try #require(
          before == oracle.last { $0.start < start }?.last, "seed \(seed), step \(step)")
      }
      try #require(map.count == oracle.count, "seed \(seed), step \(step)")
    }
    var walked: [UInt64] = []
    map.forEach(intersecting: 0, .max) {
      walked.append($0.start)
      return true
    }
    #expect(walked == oracle.map(\.start))
  }

  @Test("finds the first gap that is long enough", arguments: 0..<24 as Range<UInt64>)
  func findsGaps(seed: UInt64) throws {
    var random = SeededRandom(seed: seed &+ 1000)
    var map = IntervalMap<UInt8>()
    var used = Set<UInt64>()
    let span: UInt64 = 6000
    for step in 0..<2500 {
      let start = UInt64.random(in: 0..<span, using: &random)
      let last = min(start + UInt64.random(in: 0..<6, using: &random), span - 1)
      if let present = map.first(intersecting: start, last) {
        map.remove(startingAt: present.start)
        used.subtract(present.start...present.last)
      } else {
        map.insert(start: start, last: last, value: 0)
        used.formUnion(start...last)
      }
      let length = UInt64.random(in: 1..<40, using: &random)
      let from = UInt64.random(in: 0..<span, using: &random)
      let through = UInt64.random(in: from..<span, using: &random)
      let found = map.gap(ofAtLeast: length, from: from, through: through)
      let expected = firstGap(in: used, length, from, through)
      try #require(
        found?.first == expected?.lowerBound && found?.last == expected?.upperBound,
        "seed \(seed), step \(step): \(length) numbers in \(from)...\(through)")
    }
  }

  private func firstGap(
    in used: Set<UInt64>, _ length: UInt64, _ from: UInt64, _ through: UInt64
  ) -> ClosedRange<UInt64>? {
    var start: UInt64?
    for number in from...through {
      if used.contains(number) {
        if let begin = start, number - begin >= length { return begin...(number - 1) }
        start = nil
      } else if start == nil {
        start = number
      }
    }
    guard let begin = start, through - begin + 1 >= length else { return nil }
    return begin...through
  }

  @Test func holdsTheEndsOfTheNumbers() {
    var map = IntervalMap<UInt8>()
    map.insert(start: 0, last: 0, value: 1)
    map.insert(start: .max, last: .max, value: 2)
    #expect(map.entry(containing: 0)?.value == 1)
    #expect(map.entry(containing: .max)?.value == 2)
    #expect(map.gap(ofAtLeast: 1, from: 0, through: .max)?.first == 1)
    #expect(map.gap(ofAtLeast: 1, from: 0, through: .max)?.last == UInt64.max - 1)
    #expect(map.gap(ofAtLeast: .max, from: 0, through: .max) == nil)
    #expect(map.remove(startingAt: 5) == nil)
  }
}

@Suite("Coverage")
struct CoverageTests {
  @Test("agrees with counting each page", arguments: 0..<16 as Range<UInt64>)
  func agreesWithCounting(seed: UInt64) throws {
    var random = SeededRandom(seed: seed)
    var coverage = Coverage()
    var counts = [Int](repeating: 0, count: 64)
    var users: [ClosedRange<UInt64>] = []
    for step in 0..<1500 {
      if users.isEmpty || Bool.random(using: &random) {
        let first = UInt64.random(in: 0..<64, using: &random)
        let last = UInt64.random(in: first..<64, using: &random)
        var uncovered: [UInt64] = []
        coverage.forEachUncovered(first, last) { uncovered += Array($0...$1) }
        try #require(
          uncovered == (first...last).filter { counts[Int($0)] == 0 }, "seed \(seed), step \(step)")
        coverage.add(first, last)
        for page in first...last { counts[Int(page)] += 1 }
        users.append(first...last)
      } else {
        let user = users.remove(at: Int.random(in: 0..<users.count, using: &random))
        for page in user { counts[Int(page)] -= 1 }
        var freed: [UInt64] = []
        coverage.remove(user.lowerBound, user.upperBound) { freed += Array($0...$1) }
        try #require(
          freed == user.filter { counts[Int($0)] == 0 }, "seed \(seed), step \(step)")
      }
      for page in 0..<64 as Range<UInt64> {
        try #require(coverage.isCovered(page) == (counts[Int(page)] > 0), "seed \(seed)")
      }
    }
  }
}
