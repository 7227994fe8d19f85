import Clients
import Trace

/// One number of a structure, as wide as the header has it.
enum Part {
  case u8(UInt8)
  case u16(UInt16)
  case u32(UInt32)
  case u64(UInt64)

  var bytes: [UInt8] {
    switch self {
    case .u8(let number): [number]
    case .u16(let number): littleEndian(number)
    case .u32(let number): littleEndian(number)
    case .u64(let number): littleEndian(number)
    }
  }

  private func littleEndian(_ number: some FixedWidthInteger) -> [UInt8] {
    (0..<number.bitWidth / 8).map { UInt8(truncatingIfNeeded: number >> ($0 * 8)) }
  }
}

func bytes(_ parts: [Part]) -> [UInt8] { parts.flatMap(\.bytes) }

/// A structure that starts with its own size.
func sized(_ parts: [Part]) -> [UInt8] {
  let rest = bytes(parts)
  return Part.u32(UInt32(rest.count + 4)).bytes + rest
}

/// The argument of the test command: 72 bytes, of which the operation's own start at 16.
func test(_ operation: UInt32, id: UInt32, _ parts: [Part]) -> [UInt8] {
  let start = bytes([.u32(72), .u32(operation), .u32(id), .u32(0)] + parts)
  return start + [UInt8](repeating: 0, count: 72 - start.count)
}

func call(
  _ request: UInt32, _ before: [UInt8], _ after: [UInt8]? = nil, result: Int64 = 0,
  rule: StaticString? = nil, address: UInt64 = 0x7ffe_0000_1000
) -> CallRecord {
  var record = CallRecord(
    process: 41, thread: 41, operation: .ioctl, name: "/dev/iommu", start: 1000)
  record.command = request
  record.address = address
  record.bytesBefore = before
  record.bytesAfter = after ?? before
  record.result = result
  record.rule = rule
  record.nanoseconds = 250
  return record
}

func event(
  _ operation: CallRecord.Operation, _ name: String, address: UInt64 = 0, byteCount: UInt64 = 0,
  result: Int64 = 0
) -> CallRecord {
  var record = CallRecord(process: 41, thread: 41, operation: operation, name: name, start: 1000)
  record.address = address
  record.byteCount = byteCount
  record.result = result
  return record
}

func text(_ record: CallRecord) -> String { CallFormatter(style: .text).line(for: record) }
func json(_ record: CallRecord) -> String { CallFormatter(style: .json).line(for: record) }
