import Clients
import Testing

@testable import Trace

@Suite("Lines of other calls")
struct LineTests {
  @Test("files")
  func files() {
    #expect(text(event(.open, "/dev/iommu")) == "[41] open(\"/dev/iommu\") = 0")
    var missing = event(.open, "/dev/vfio/noiommu-\"1\"\n", result: -2)
    missing.rule = "there is no such file"
    #expect(
      text(missing)
        == "[41] open(\"/dev/vfio/noiommu-\\\"1\\\"\\n\") = -1 ENOENT"
        + " (refused because there is no such file)")
    #expect(text(event(.status, "/dev/iommu")) == "[41] stat(\"/dev/iommu\") = 0")
    #expect(text(event(.readLink, "/sys/x", result: 12)) == "[41] readlink(\"/sys/x\") = 12")
    #expect(text(event(.closed, "/dev/iommu")) == "[41] close(/dev/iommu)")
    #expect(text(event(.processEnded, "")) == "[41] process-ended()")
    #expect(
      text(event(.map, "/dev/iommu", byteCount: 8192)) == "[41] mmap(/dev/iommu, 8K) = 0")
    #expect(
      text(event(.map, "/dev/iommu", address: 0x10000, byteCount: 4096, result: 0x7f00_0000_0000))
        == "[41] mmap(/dev/iommu, 0x10000, 4K) = 0x7f0000000000")
    #expect(
      text(event(.read, "fail-nth", address: 0x7f00, byteCount: 10, result: 2))
        == "[41] read(fail-nth, 0x7f00, 10) = 2")
  }

  static let pageFault: [Part] = [
    .u32(0b11), .u32(3), .u32(5), .u32(1), .u32(0b10), .u32(0), .u64(0xdead_beaf), .u32(0), .u32(4),
  ]
  static let plainFault: [Part] = [
    .u32(0), .u32(3), .u32(5), .u32(2), .u32(0b101), .u32(0), .u64(0x1000), .u32(4096), .u32(0),
  ]

  @Test("page faults that are read, and responses that are written")
  func faultQueue() {
    var read = event(.read, "[iommufd-pgfault]", address: 0x7f00, byteCount: 4096, result: 80)
    read.bytesAfter = bytes(Self.pageFault + Self.plainFault + Self.pageFault)
    #expect(
      text(read)
        == "[41] read([iommufd-pgfault], 0x7f00, 4K) = 80,"
        + " {dev=3, pasid=5, group=1, flags=PASID_VALID|LAST_PAGE, perm=W, addr=0xdeadbeaf, cookie=4},"
        + " {dev=3, group=2, flags=0, perm=R|X, addr=0x1000, len=4K, cookie=0}")
    read.result = -11
    #expect(text(read) == "[41] read([iommufd-pgfault], 0x7f00, 4K) = -1 EAGAIN")

    var write = event(.write, "[iommufd-pgfault]", address: 0x7f00, byteCount: 8, result: 8)
    write.bytesBefore = bytes([.u32(4), .u32(1), .u32(7)])
    #expect(text(write) == "[41] write([iommufd-pgfault], {cookie=4, code=INVALID}, 8) = 8")
  }

  @Test("an ioctl without a name shows its numbers")
  func unknown() {
    #expect(
      text(call(0x3bff, [], result: -25, address: 0x7f00))
        == "[41] ioctl(/dev/iommu, 0x3bff, 0x7f00) = -1 ENOTTY")
    // Size and direction bits make another request.
    #expect(
      text(call(0x4004_3b80, sized([.u32(5)]), result: -25, address: 0x7f00))
        == "[41] ioctl(/dev/iommu, 0x40043b80, 0x7f00) = -1 ENOTTY")
    #expect(
      text(call(0x3b80, sized([.u32(5)]), result: -1234))
        == "[41] IOMMU_DESTROY{id=5} = -1 error 1234")
  }

  @Test("a structure that ends early shows what there is", arguments: 0..<40)
  func truncated(count: Int) {
    let whole = sized([
      .u32(0b111), .u32(1), .u32(0), .u64(0x7000), .u64(4096), .u64(0x100_0000),
    ])
    let line = text(call(0x3b85, Array(whole.prefix(count)), result: -14))
    let fields =
      "ioas=\(count < 12 ? "?" : "1"), va=\(count < 24 ? "?" : "0x7000"),"
      + " len=\(count < 32 ? "?" : "4K"), flags=\(count < 8 ? "?" : "FIXED|R|W")"
    let iova = count < 8 ? "" : ", iova=?"
    let expected = count == 0 ? "(0x7ffe00001000)" : "{\(fields)\(iova)}"
    #expect(line == "[41] IOMMU_IOAS_MAP\(expected) = -1 EFAULT")
  }

  @Test("fields behind the client's size are not there, and an odd size is shown")
  func size() {
    let short = bytes([.u32(8), .u32(0), .u32(99)])
    #expect(
      text(call(0x3b81, short, result: -22)) == "[41] IOMMU_IOAS_ALLOC{size=8} = -1 EINVAL")
    #expect(text(call(0x3b81, short)) == "[41] IOMMU_IOAS_ALLOC{size=8} = 0")
    let long = bytes([.u32(16), .u32(0), .u32(1), .u32(0)])
    #expect(text(call(0x3b81, long)) == "[41] IOMMU_IOAS_ALLOC{size=16} = 0, ioas=1")
  }

  @Test("another thread than the first is named")
  func thread() {
    var record = event(.closed, "/dev/iommu")
    record.thread = 43
    #expect(text(record) == "[41/43] close(/dev/iommu)")
  }

  @Test("colours mark the process, the name and an error")
  func colour() {
    let line = CallFormatter(style: .text, colour: true).line(
      for: call(0x3b80, sized([.u32(5)]), result: -2))
    #expect(
      line
        == "\u{1b}[2m[41]\u{1b}[0m \u{1b}[36mIOMMU_DESTROY\u{1b}[0m{id=5}"
        + " = \u{1b}[31m-1 ENOENT\u{1b}[0m")
  }

  @Test(
    "lengths",
    arguments: [
      (0, "0"), (1, "1"), (1023, "1023"), (1024, "1K"), (2048, "2K"), (1 << 20, "1M"),
      (3 << 19, "1536K"), (1 << 30, "1G"), (1 << 40, "1024G"), (1 << 60, "0x1000000000000000"),
    ] as [(UInt64, String)])
  func lengths(length: UInt64, expected: String) {
    let record = event(.read, "x", byteCount: length)
    #expect(text(record) == "[41] read(x, \(expected)) = 0")
  }
}

@Suite("Field tables")
struct FieldTableTests {
  @Test("a field that moves takes its condition along")
  func moved() {
    let condition = FieldCondition(place: FieldPlace(offset: 4, width: 4), mask: 1, value: 1)
    let field = Field(
      name: "x", place: FieldPlace(offset: 8, width: 4), kind: .number, use: .input,
      condition: condition)
    #expect(field.moved(by: 16).place.offset == 24)
    #expect(field.moved(by: 16).condition?.place.offset == 20)
  }
}

@Suite("JSON lines")
struct JSONTests {
  @Test("a call")
  func call() {
    let before = sized([
      .u32(0b100), .u32(1), .u32(0), .u64(0x7f12_3456_7000), .u64(2 << 20), .u64(0),
    ])
    let after = sized([
      .u32(0b100), .u32(1), .u32(0), .u64(0x7f12_3456_7000), .u64(2 << 20), .u64(0x100_0000),
    ])
    #expect(
      json(TraceTests.call(0x3b85, before, after))
        == #"{"process":41,"thread":41,"start":1000,"nanoseconds":250,"operation":"ioctl","#
        + #""name":"/dev/iommu","command":"IOMMU_IOAS_MAP","request":15237,"#
        + #""address":"0x7ffe00001000","input":{"ioas":1,"va":"0x7f1234567000","len":2097152,"#
        + #""flags":["R"]},"result":0,"output":{"iova":"0x1000000"}}"#)
  }

  @Test("a refusal, with what is missing and what is too large for a double")
  func refusal() {
    let record = TraceTests.call(
      0x3b86, bytes([.u32(24), .u32(1), .u64(0), .u64(.max)]), result: -2,
      rule: "nothing is \"mapped\"")
    #expect(
      json(record).hasSuffix(
        #""input":{"ioas":1,"iova":"0x0","len":"0xffffffffffffffff"},"result":-2,"error":"ENOENT","#
          + #""rule":"nothing is \"mapped\""}"#))
    let short = TraceTests.call(0x3b86, bytes([.u32(24), .u32(1)]), result: -14)
    #expect(json(short).contains(#""input":{"ioas":1,"iova":null,"len":null}"#))
  }

  @Test("values, records, and flags without a name")
  func values() {
    let value = TraceTests.call(0x3b65, [], result: 1, address: 3)
    #expect(json(value).contains(#""command":"VFIO_CHECK_EXTENSION","request":15205,"#))
    #expect(json(value).contains(#""argument":"TYPE1v2_IOMMU","result":1"#))
    let flags = TraceTests.call(0x3b81, sized([.u32(2), .u32(0)]), result: -95)
    #expect(json(flags).contains(#""input":{"flags":["0x2"]}"#))
    var read = event(.read, "[iommufd-pgfault]", address: 0x7f00, byteCount: 4096, result: 40)
    read.bytesAfter = bytes(LineTests.plainFault)
    #expect(
      json(read).hasSuffix(
        #""bytes":4096,"result":40,"records":[{"dev":3,"group":2,"flags":[],"perm":["R","X"],"#
          + #""addr":"0x1000","len":4096,"cookie":0}]}"#))
    let unknown = TraceTests.call(0x3bff, [1, 2, 3], result: -25)
    #expect(!json(unknown).contains("command"))
    #expect(json(unknown).contains(#""request":15359"#))
  }

  @Test("names are escaped")
  func escaping() {
    let name = "a\"b\\c\n\r\t\u{1}\u{7f}\u{2028}é"
    #expect(
      json(event(.open, name)).contains(
        #""name":"a\"b\\c\n\r\t\u0001\u007f\u2028é""#))
  }
}
