public import CKernelABI
public import Clients
internal import Hardware

/// IOMMU_IOAS_MAP_FILE: maps a part of a memory file, or of an exported buffer.
public enum MapFileCommand: IoctlCommand {
  public static var number: UInt32 { IOMMUFD_CMD_IOAS_MAP_FILE }
  public static var minimumBytes: Int { 40 }
  public static var zero: iommu_ioas_map_file { iommu_ioas_map_file() }

  public static func execute(
    _ argument: inout iommu_ioas_map_file, _ call: Call
  ) throws(Refusal) -> Int64 {
    try MapFlags.check(argument.flags)
    guard argument.iova < .max, argument.length < .max else {
      throw Refusal(.EOVERFLOW, because: "an address or length is the largest number")
    }
    let access = try MapFlags.access(argument.flags)
    let space: IOAddressSpace = try call.context.object(argument.ioas_id)
    guard argument.length > 0 else { throw Refusal(.EINVAL, because: "the length is zero") }
    guard let last = lastByte(of: argument.start, argument.length) else {
      throw Refusal(.EOVERFLOW, because: "the range does not fit 64 bits")
    }
    let startByte = argument.start % pageBytes
    let backing = try backing(
      of: argument.fd, from: argument.start - startByte, through: last, call)
    let pages = try space.makePages(
      backing, startByte: startByte, byteCount: argument.length,
      isWritable: access.contains(.write), caller: call.caller)
    argument.iova = try space.map(
      .init(pages: pages, startByte: startByte, byteCount: argument.length),
      at: MapFlags.fixed(argument.iova, argument.flags), access: access)
    try call.respond(argument)
    return 0
  }

  private static func backing(
    of descriptor: Int32, from start: UInt64, through last: UInt64, _ call: Call
  ) throws(Refusal) -> Pages.Backing {
    switch call.caller.descriptor(descriptor) {
    case nil:
      throw Refusal(.EBADF, because: "the descriptor is not open")
    case .foreign(let file):
      return .file(file, start: start)
    case .machine(let file as ExportedBuffer):
      guard file.byteCount > last else {
        throw Refusal(.EINVAL, because: "the range ends behind the end of the buffer")
      }
      guard !file.isRevoked else { throw Refusal(.ENODEV, because: "the buffer is revoked") }
      return .exportedBuffer(file, start: start)
    case .machine:
      // Linux takes any file here and finds out when it pins; it keeps no reference that would make
      // a context hold itself.
      return .file(PassedFile(memory: nil, handle: EmptyFile()), start: start)
    }
  }
}

/// One of our own files where memory is expected: it has none.
private final class EmptyFile: FileHandle {
  var byteCount: UInt64 { 0 }
}
