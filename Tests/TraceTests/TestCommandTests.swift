import Clients
import Testing

/// One golden line for each operation of the test command.
@Suite("Lines of the test command")
struct TestCommandTests {
  typealias Golden = PublicCommandTests.Golden

  static func golden(
    _ line: String, _ operation: UInt32, id: UInt32 = 0, _ before: [Part], _ after: [Part]? = nil,
    result: Int64 = 0
  ) -> Golden {
    Golden(
      line,
      call(
        0x3ba0, test(operation, id: id, before), test(operation, id: id, after ?? before),
        result: result))
  }

  static let memory: [Golden] = [
    golden(
      "ADD_RESERVED{ioas=1, start=0x1000000, len=4K} = 0", 1, id: 1, [.u64(0x100_0000), .u64(4096)]),
    golden(
      "MOCK_DOMAIN{ioas=1} = 0, stdev=2, hwpt=4, dev=3", 2, id: 1, [.u32(0), .u32(0), .u32(0)],
      [.u32(2), .u32(4), .u32(3)]),
    golden(
      "MD_CHECK_MAP{hwpt=4, iova=0x1000000, len=2M, va=0x7f0000000000} = -1 EINVAL", 3, id: 4,
      [.u64(0x100_0000), .u64(2 << 20), .u64(0x7f00_0000_0000)], result: -22),
    golden(
      "MD_CHECK_REFS{va=0x7f0000000000, len=2M, refs=1} = 0", 4,
      [.u64(2 << 20), .u64(0x7f00_0000_0000), .u32(1)]),
    golden(
      "SET_TEMP_MEMORY_LIMIT{limit=64K} = 0", 9, [.u32(65536)]),
    golden("MOCK_DOMAIN_REPLACE{stdev=2, pt=5} = 0, hwpt=6", 10, id: 2, [.u32(5)], [.u32(6)]),
    golden(
      "MOCK_DOMAIN_FLAGS{ioas=1, flags=NO_DIRTY|PASID} = 0, stdev=2, hwpt=4, dev=3", 12, id: 1,
      [.u32(0), .u32(0), .u32(0), .u32(5)], [.u32(2), .u32(4), .u32(3), .u32(5)]),
    golden(
      "DIRTY{hwpt=4, iova=0x1000000, len=64K, page_size=2K, bitmap=0x7f0000000000} = 0, dirty=16",
      13, id: 4,
      [
        .u32(0), .u32(0), .u64(0x100_0000), .u64(65536), .u64(2048), .u64(0x7f00_0000_0000),
        .u64(0),
      ],
      [
        .u32(0), .u32(0), .u64(0x100_0000), .u64(65536), .u64(2048), .u64(0x7f00_0000_0000),
        .u64(16),
      ]),
    golden(
      "MD_CHECK_IOTLB{hwpt=6, word=3, iotlb=0xbadbeef} = 0", 14, id: 6, [.u32(3), .u32(0xbad_beef)]),
    golden(
      "DMABUF_GET{len=8K, open_flags=0x80002} = 9", 22, [.u32(8192), .u32(0x80002)], result: 9),
    golden("DMABUF_REVOKE{fd=9, revoked=1} = 0", 23, [.u32(9), .u32(1)]),
  ]

  static let accesses: [Golden] = [
    golden(
      "CREATE_ACCESS{ioas=1, flags=NEEDS_PIN_PAGES} = 0, access_fd=new", 5, id: 1,
      [.u32(0), .u32(1)], [.u32(7), .u32(1)]),
    golden("DESTROY_ACCESS_PAGES{access_fd=7, pages=1} = 0", 6, id: 7, [.u32(1)]),
    golden(
      "ACCESS_PAGES{access_fd=7, iova=0x1000000, len=4K, va=0x7f0000000000, flags=WRITE} = 0,"
        + " pages=1", 7, id: 7,
      [.u32(1), .u32(0), .u64(0x100_0000), .u64(4096), .u64(0x7f00_0000_0000)],
      [.u32(1), .u32(1), .u64(0x100_0000), .u64(4096), .u64(0x7f00_0000_0000)]),
    golden(
      "ACCESS_RW{access_fd=7, iova=0x1000001, len=3, va=0x7f0000000000, flags=WRITE|SLOW_PATH} = 0",
      8, id: 7, [.u64(0x100_0001), .u64(3), .u64(0x7f00_0000_0000), .u32(5)]),
    golden("ACCESS_REPLACE_IOAS{access_fd=7, ioas=2} = 0", 11, id: 7, [.u32(2)]),
  ]

  static let devices: [Golden] = [
    golden(
      "TRIGGER_IOPF{dev=3, pasid=5, group=1, perm=0x2, addr=0xdeadbeaf} = 0", 15,
      [.u32(3), .u32(5), .u32(1), .u32(2), .u64(0xdead_beaf)]),
    golden(
      "TRIGGER_IOPF{dev=3, group=1, perm=0x1, addr=0x0} = 0", 15,
      [.u32(3), .u32(0), .u32(1), .u32(1), .u64(0)]),
    golden(
      "DEV_CHECK_CACHE{dev=3, word=0, cache=0xbaddad} = 0", 16, id: 3, [.u32(0), .u32(0xbad_dad)]),
    golden("TRIGGER_VEVENT{dev=3} = -1 ENOENT", 17, [.u32(3)], result: -2),
    golden(
      "PASID_ATTACH{stdev=2, pasid=100, pt=1} = 0, hwpt=4", 18, id: 2, [.u32(100), .u32(1)],
      [.u32(100), .u32(4)]),
    golden(
      "PASID_REPLACE{stdev=2, pasid=1024, pt=5} = -1 ENOMEM", 19, id: 2, [.u32(1024), .u32(5)],
      result: -12),
    golden("PASID_DETACH{stdev=2, pasid=100} = 0", 20, id: 2, [.u32(100)]),
    golden(
      "PASID_CHECK_HWPT{stdev=2, pasid=100, hwpt=4} = 0", 21, id: 2, [.u32(100), .u32(4)]),
  ]

  @Test("the line is the golden one", arguments: memory + accesses + devices)
  func golden(golden: Golden) {
    #expect(text(golden.record) == "[41] IOMMU_TEST_OP_" + golden.line)
  }

  @Test("an operation without a name shows its number")
  func unknown() {
    #expect(
      text(call(0x3ba0, test(99, id: 1, []), result: -95))
        == "[41] IOMMU_TEST_CMD{op=99, id=1} = -1 EOPNOTSUPP")
  }
}
