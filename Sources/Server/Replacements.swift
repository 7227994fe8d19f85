import Hardware

/// Which ranges of an address space hold other memory than when their pages were pinned.
///
/// Each range has a generation, 0 until something else took its place. A page of private memory is
/// named by generation and address together, so what is pinned keeps a name that no longer
/// resolves.
struct Replacements {
  private struct Piece {
    var range: Range<UInt64>
    var generation: UInt64
  }

  /// Ranges with another generation than 0, in order, not touching unless their generations differ.
  private var pieces: [Piece] = []
  private var last: UInt64 = 0

  static var generationShift: UInt64 { 48 }
  private static var largestGeneration: UInt64 { 0xffff }

  static func address(ofByte offset: UInt64) -> UInt64 { offset & ((1 << generationShift) - 1) }
  static func generation(ofByte offset: UInt64) -> UInt64 { offset >> generationShift }
  static func byte(at address: UInt64, generation: UInt64) -> UInt64 {
    address | generation << generationShift
  }

  var isEmpty: Bool { pieces.isEmpty }
  var count: Int { pieces.count }

  mutating func removeAll() { pieces.removeAll() }

  /// Calls `body` with the parts of `range` that have one generation each, in order.
  func forEach<Failure: Error>(
    in range: Range<UInt64>, _ body: (Range<UInt64>, _ generation: UInt64) throws(Failure) -> Void
  ) throws(Failure) {
    var cursor = range.lowerBound
    var index = firstPiece(endingAfter: cursor)
    while cursor < range.upperBound {
      guard index < pieces.count, pieces[index].range.lowerBound < range.upperBound else {
        return try body(cursor..<range.upperBound, 0)
      }
      let piece = pieces[index]
      if piece.range.lowerBound > cursor { try body(cursor..<piece.range.lowerBound, 0) }
      let start = max(cursor, piece.range.lowerBound)
      let end = min(range.upperBound, piece.range.upperBound)
      try body(start..<end, piece.generation)
      cursor = end
      index += 1
    }
  }

  /// Gives the range a generation for which `isTaken` is false.
  mutating func replace(_ range: Range<UInt64>, unless isTaken: (_ generation: UInt64) -> Bool) {
    var tries = Self.largestGeneration
    repeat {
      last = last % Self.largestGeneration + 1
      tries -= 1
    } while tries > 0 && isTaken(last)
    let first = firstPiece(endingAfter: range.lowerBound)
    var end = first
    var kept: [Piece] = []
    while end < pieces.count, pieces[end].range.lowerBound < range.upperBound {
      let piece = pieces[end]
      if piece.range.lowerBound < range.lowerBound {
        let head = piece.range.lowerBound..<range.lowerBound
        kept.append(Piece(range: head, generation: piece.generation))
      }
      if end + 1 == pieces.count || pieces[end + 1].range.lowerBound >= range.upperBound {
        kept.append(Piece(range: range, generation: last))
      }
      if piece.range.upperBound > range.upperBound {
        let tail = range.upperBound..<piece.range.upperBound
        kept.append(Piece(range: tail, generation: piece.generation))
      }
      end += 1
    }
    if end == first { kept.append(Piece(range: range, generation: last)) }
    pieces.replaceSubrange(first..<end, with: kept)
  }

  private func firstPiece(endingAfter address: UInt64) -> Int {
    var (low, high) = (0, pieces.count)
    while low < high {
      let middle = (low + high) / 2
      if pieces[middle].range.upperBound > address { high = middle } else { low = middle + 1 }
    }
    return low
  }
}
