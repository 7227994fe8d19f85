internal import Clients

/// Offsets of a context's file at which clients can map pages of virtual IOMMUs.
struct MappingTable {
  private struct Mapping {
    var offset: UInt64
    var pages: any SharedPages
  }

  /// Sorted by offset.
  private var mappings: [Mapping] = []

  /// Takes the lowest offset with room, but not 0, so that callers can tell it from none.
  mutating func add(_ pages: any SharedPages) -> UInt64 {
    let length = UInt64(pages.byteCount)
    var offset: UInt64 = 4096
    var index = 0
    for mapping in mappings {
      if mapping.offset - offset >= length { break }
      offset = mapping.offset + UInt64(mapping.pages.byteCount)
      index += 1
    }
    mappings.insert(Mapping(offset: offset, pages: pages), at: index)
    return offset
  }

  mutating func remove(at offset: UInt64) {
    mappings.removeAll { $0.offset == offset }
  }

  func isMapped(at offset: UInt64) -> Bool {
    mappings.contains { $0.offset == offset && $0.pages.isMapped }
  }

  /// Only a whole mapping can be mapped.
  func pages(at offset: UInt64, byteCount: UInt64) -> (any SharedPages)? {
    mappings.first { $0.offset == offset && UInt64($0.pages.byteCount) == byteCount }?.pages
  }
}
