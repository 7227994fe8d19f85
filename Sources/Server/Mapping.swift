import CChannel
import CHost

/// One mapping of a client's address space.
struct Mapping {
  let start: UInt64
  let end: UInt64
  /// Where in the file the mapping begins.
  let offset: UInt64
  let file: FileKey
  private let flags: UInt32

  init(_ raw: viaduct_mapping) {
    start = raw.start
    end = raw.end
    offset = raw.offset
    flags = raw.flags
    file = FileKey(
      device: deviceNumber(major: raw.device_major, minor: raw.device_minor), inode: raw.inode)
  }

  var isReadable: Bool { flags & 1 != 0 }
  var isWritable: Bool { flags & HOST_MAPPING_WRITABLE != 0 }
  /// Whether its pages are those of a file, shared memory without a name included.
  var isOfFile: Bool { flags & HOST_MAPPING_SHARED != 0 && file.inode != 0 }

  func contains(_ address: UInt64) -> Bool { start <= address && address < end }
  func allows(writing: Bool) -> Bool { writing ? isWritable : isReadable }
  func shows(fileOffset position: UInt64) -> Bool {
    position >= offset && position - offset < end - start
  }
  func fileOffset(of address: UInt64) -> UInt64 { offset &+ (address - start) }
}

/// A device number as `stat` packs it.
func deviceNumber(major: UInt32, minor: UInt32) -> UInt64 {
  let (major, minor) = (UInt64(major), UInt64(minor))
  return (major & 0xffff_f000) << 32 | (major & 0xfff) << 8 | (minor & 0xffff_ff00) << 12
    | minor & 0xff
}
