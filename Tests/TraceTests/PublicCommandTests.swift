import Clients
import Testing

/// One golden line for each public ioctl. The bytes follow the kernel's header, field by field.
@Suite("Lines of the public ioctls")
struct PublicCommandTests {
  struct Golden: CustomTestStringConvertible, Sendable {
    var line: String
    var record: CallRecord
    var testDescription: String { line }

    init(_ line: String, _ record: CallRecord) {
      self.line = line
      self.record = record
    }
  }

  static let objects: [Golden] = [
    Golden("IOMMU_DESTROY{id=5} = 0", call(0x3b80, sized([.u32(5)]))),
    Golden(
      "IOMMU_IOAS_ALLOC{} = 0, ioas=1",
      call(0x3b81, sized([.u32(0), .u32(0)]), sized([.u32(0), .u32(1)]))),
    Golden(
      "IOMMU_IOAS_ALLOC{flags=0x2} = -1 EOPNOTSUPP (refused because a flag is unknown)",
      call(0x3b81, sized([.u32(2), .u32(0)]), result: -95, rule: "a flag is unknown")),
    Golden(
      "IOMMU_IOAS_ALLOW_IOVAS{ioas=1, count=2, ranges=0x7f0000001000} = 0",
      call(0x3b82, sized([.u32(1), .u32(2), .u32(0), .u64(0x7f00_0000_1000)]))),
    Golden(
      "IOMMU_IOAS_COPY{from=2, from_iova=0x1000, to=1, len=4K, flags=FIXED|R} = 0, iova=0x200000",
      call(
        0x3b83,
        sized([
          .u32(0b101), .u32(1), .u32(2), .u64(4096), .u64(0x20_0000), .u64(0x1000),
        ]))),
    Golden(
      "IOMMU_IOAS_IOVA_RANGES{ioas=1, room=4, ranges=0x7f0000001000} = 0, count=1, alignment=4K",
      call(
        0x3b84, sized([.u32(1), .u32(4), .u32(0), .u64(0x7f00_0000_1000), .u64(0)]),
        sized([.u32(1), .u32(1), .u32(0), .u64(0x7f00_0000_1000), .u64(4096)]))),
    Golden(
      "IOMMU_IOAS_IOVA_RANGES{ioas=1, room=0, ranges=0x0} = -1 EMSGSIZE (refused because the array is"
        + " too short), count=3",
      call(
        0x3b84, sized([.u32(1), .u32(0), .u32(0), .u64(0), .u64(0)]),
        sized([.u32(1), .u32(3), .u32(0), .u64(0), .u64(4096)]), result: -90,
        rule: "the array is too short")),
    Golden(
      "IOMMU_IOAS_MAP{ioas=1, va=0x7f1234567000, len=2M, flags=FIXED|R|W} = 0, iova=0x1000000",
      call(
        0x3b85,
        sized([
          .u32(0b111), .u32(1), .u32(0), .u64(0x7f12_3456_7000), .u64(2 << 20), .u64(0x100_0000),
        ]))),
    Golden(
      "IOMMU_IOAS_MAP{ioas=1, va=0x7f1234567000, len=5000, flags=R} = 0, iova=0x1000000",
      call(
        0x3b85,
        sized([.u32(0b100), .u32(1), .u32(0), .u64(0x7f12_3456_7000), .u64(5000), .u64(0)]),
        sized([
          .u32(0b100), .u32(1), .u32(0), .u64(0x7f12_3456_7000), .u64(5000), .u64(0x100_0000),
        ]))
    ),
    Golden(
      "IOMMU_IOAS_MAP{ioas=1, va=0x7f1234567000, len=6K, flags=FIXED|R|W|0x10, iova=0x1000800}"
        + " = -1 EINVAL (refused because the IOVA is not aligned to 4096)",
      call(
        0x3b85,
        sized([
          .u32(0b10111), .u32(1), .u32(0), .u64(0x7f12_3456_7000), .u64(6144), .u64(0x100_0800),
        ]), result: -22, rule: "the IOVA is not aligned to 4096")),
    Golden(
      "IOMMU_IOAS_UNMAP{ioas=1, iova=0x0, len=0xffffffffffffffff} = 0, len=3G",
      call(
        0x3b86, sized([.u32(1), .u64(0), .u64(.max)]), sized([.u32(1), .u64(0), .u64(3 << 30)]))),
    Golden(
      "IOMMU_IOAS_MAP_FILE{ioas=1, fd=-1, start=0x2000, len=1G, flags=R} = -1 EBADF",
      call(
        0x3b8f,
        sized([.u32(4), .u32(1), .u32(.max), .u64(0x2000), .u64(1 << 30), .u64(0)]), result: -9)),
    Golden("IOMMU_IOAS_CHANGE_PROCESS{} = 0", call(0x3b92, sized([.u32(0)]))),
    Golden(
      "IOMMU_IOAS_NOIOMMU_GET_PA{ioas=1, iova=0x1000, len=1M} = 0, len=8K, physical=0x100002000",
      call(
        0x3b95, sized([.u32(0), .u32(1), .u32(0), .u64(0x1000), .u64(1 << 20), .u64(0)]),
        sized([.u32(0), .u32(1), .u32(0), .u64(0x1000), .u64(8192), .u64(0x1_0000_2000)]))),
    Golden(
      "IOMMU_OPTION{op=SET, option=HUGE_PAGES, object=1, value=0} = 0",
      call(0x3b87, sized([.u32(1), .u16(0), .u16(0), .u32(1), .u64(0)]))),
    Golden(
      "IOMMU_OPTION{op=GET, option=RLIMIT_MODE} = 0, value=1",
      call(
        0x3b87, sized([.u32(0), .u16(1), .u16(0), .u32(0), .u64(0)]),
        sized([.u32(0), .u16(1), .u16(0), .u32(0), .u64(1)]))),
    Golden(
      "IOMMU_VFIO_IOAS{op=GET} = 0, ioas=3",
      call(
        0x3b88, sized([.u32(0), .u16(0), .u16(0)]), sized([.u32(3), .u16(0), .u16(0)]))),
    Golden(
      "IOMMU_VFIO_IOAS{op=SET, ioas=3} = 0", call(0x3b88, sized([.u32(3), .u16(1), .u16(0)]))),
    Golden("IOMMU_VFIO_IOAS{op=CLEAR} = 0", call(0x3b88, sized([.u32(3), .u16(2), .u16(0)]))),
  ]

  static let tables: [Golden] = [
    Golden(
      "IOMMU_HWPT_ALLOC{dev=2, pt=1} = 0, hwpt=3",
      call(
        0x3b89,
        sized([
          .u32(0), .u32(2), .u32(1), .u32(0), .u32(0), .u32(0), .u32(0), .u64(0), .u32(0), .u32(0),
        ]),
        sized([
          .u32(0), .u32(2), .u32(1), .u32(3), .u32(0), .u32(0), .u32(0), .u64(0), .u32(0), .u32(0),
        ]))),
    Golden(
      "IOMMU_HWPT_ALLOC{dev=2, pt=3, flags=FAULT_ID_VALID|PASID, type=SELFTEST, data_len=8,"
        + " data=0x7f0000001000, fault=4} = 0, hwpt=0",
      call(
        0x3b89,
        sized([
          .u32(0b1100), .u32(2), .u32(3), .u32(0), .u32(0), .u32(0xdead), .u32(8),
          .u64(0x7f00_0000_1000), .u32(4), .u32(0),
        ]))),
    Golden(
      "IOMMU_GET_HW_INFO{dev=2, data_len=8, data=0x7f0000001000} = 0, data_len=8, type=SELFTEST,"
        + " pasid_bits=20, capabilities=DIRTY_TRACKING|PCI_ATS_NOT_SUPPORTED",
      call(
        0x3b8a,
        sized([
          .u32(0), .u32(2), .u32(8), .u64(0x7f00_0000_1000), .u32(0), .u8(0), .u8(0), .u8(0),
          .u8(0),
          .u64(0),
        ]),
        sized([
          .u32(0), .u32(2), .u32(8), .u64(0x7f00_0000_1000), .u32(0xfeed_beef), .u8(20), .u8(0),
          .u8(0), .u8(0), .u64(0b1001),
        ]))),
    Golden(
      "IOMMU_GET_HW_INFO{dev=2, flags=INPUT_TYPE, type=0xabcdef, data_len=0, data=0x0}"
        + " = -1 EOPNOTSUPP",
      call(
        0x3b8a,
        sized([
          .u32(1), .u32(2), .u32(0), .u64(0), .u32(0xab_cdef), .u8(0), .u8(0), .u8(0), .u8(0),
          .u64(0),
        ]), result: -95)),
    Golden(
      "IOMMU_HWPT_SET_DIRTY_TRACKING{hwpt=3, flags=ENABLE} = 0",
      call(0x3b8b, sized([.u32(1), .u32(3), .u32(0)]))),
    Golden(
      "IOMMU_HWPT_SET_DIRTY_TRACKING{hwpt=3, flags=0} = 0",
      call(0x3b8b, sized([.u32(0), .u32(3), .u32(0)]))),
    Golden(
      "IOMMU_HWPT_GET_DIRTY_BITMAP{hwpt=3, iova=0x1000000, len=64K, page_size=2K, flags=NO_CLEAR,"
        + " bitmap=0x7f0000001000} = 0",
      call(
        0x3b8c,
        sized([
          .u32(3), .u32(1), .u32(0), .u64(0x100_0000), .u64(65536), .u64(2048),
          .u64(0x7f00_0000_1000),
        ]))),
    Golden(
      "IOMMU_HWPT_INVALIDATE{hwpt=6, type=SELFTEST, entry_len=8, count=3, entries=0x7f0000001000}"
        + " = -1 EINVAL, done=2",
      call(
        0x3b8d,
        sized([
          .u32(6), .u64(0x7f00_0000_1000), .u32(0xdead_beef), .u32(8), .u32(3), .u32(0),
        ]),
        sized([
          .u32(6), .u64(0x7f00_0000_1000), .u32(0xdead_beef), .u32(8), .u32(2), .u32(0),
        ]), result: -22)),
    Golden(
      "IOMMU_FAULT_QUEUE_ALLOC{} = 0, fault=7, fd=new",
      call(
        0x3b8e, sized([.u32(0), .u32(0), .u32(0)]), sized([.u32(0), .u32(7), .u32(12)]))),
  ]

  static let virtual: [Golden] = [
    Golden(
      "IOMMU_VIOMMU_ALLOC{type=SELFTEST, dev=2, hwpt=3, data_len=24, data=0x7f0000001000} = 0,"
        + " viommu=8",
      call(
        0x3b90,
        sized([
          .u32(0), .u32(0xdead_beef), .u32(2), .u32(3), .u32(0), .u32(24), .u32(0),
          .u64(0x7f00_0000_1000),
        ]),
        sized([
          .u32(0), .u32(0xdead_beef), .u32(2), .u32(3), .u32(8), .u32(24), .u32(0),
          .u64(0x7f00_0000_1000),
        ]))),
    Golden(
      "IOMMU_VDEVICE_ALLOC{viommu=8, dev=2, virt_id=0x99} = 0, vdevice=9",
      call(
        0x3b91, sized([.u32(8), .u32(2), .u32(0), .u64(0x99)]),
        sized([.u32(8), .u32(2), .u32(9), .u64(0x99)]))),
    Golden(
      "IOMMU_VEVENTQ_ALLOC{viommu=8, type=SELFTEST, depth=2} = 0, veventq=10, fd=new",
      call(
        0x3b93,
        sized([.u32(0), .u32(8), .u32(0xbeef_beef), .u32(2), .u32(0), .u32(0), .u32(0)]),
        sized([.u32(0), .u32(8), .u32(0xbeef_beef), .u32(2), .u32(10), .u32(13), .u32(0)]))),
    Golden(
      "IOMMU_HW_QUEUE_ALLOC{viommu=8, type=SELFTEST, index=1, iova=0x1000000, len=4K} = 0,"
        + " hw_queue=11",
      call(
        0x3b94,
        sized([
          .u32(0), .u32(8), .u32(0xdead_beef), .u32(1), .u32(0), .u64(0x100_0000), .u64(4096),
        ]),
        sized([
          .u32(0), .u32(8), .u32(0xdead_beef), .u32(1), .u32(11), .u64(0x100_0000), .u64(4096),
        ]))),
  ]

  static let container: [Golden] = [
    Golden("VFIO_GET_API_VERSION() = 0", call(0x3b64, [], address: 0)),
    Golden(
      "VFIO_CHECK_EXTENSION(TYPE1v2_IOMMU) = 1", call(0x3b65, [], result: 1, address: 3)),
    Golden("VFIO_CHECK_EXTENSION(77) = 0", call(0x3b65, [], address: 77)),
    Golden("VFIO_SET_IOMMU(TYPE1_IOMMU) = -1 EBUSY", call(0x3b66, [], result: -16, address: 1)),
    Golden(
      "VFIO_IOMMU_GET_INFO{} = 0, size=64, flags=PGSIZES|CAPS, page_sizes=0x1ffffff000,"
        + " capabilities_at=24",
      call(
        0x3b70, bytes([.u32(24), .u32(0), .u64(0), .u32(0), .u32(0)]),
        bytes([.u32(64), .u32(3), .u64(0x1f_ffff_f000), .u32(24), .u32(0)]))),
    Golden(
      "VFIO_IOMMU_MAP_DMA{iova=0x1000000, va=0x7f0000001000, len=4K, flags=R|W} = 0",
      call(
        0x3b71,
        bytes([.u32(32), .u32(3), .u64(0x7f00_0000_1000), .u64(0x100_0000), .u64(4096)]))),
    Golden(
      "VFIO_IOMMU_UNMAP_DMA{iova=0x0, len=0, flags=ALL} = 0, len=16M",
      call(
        0x3b72, bytes([.u32(24), .u32(2), .u64(0), .u64(0)]),
        bytes([.u32(24), .u32(2), .u64(0), .u64(16 << 20)]))),
    Golden(
      "VFIO_IOMMU_DIRTY_PAGES{size=48, flags=START} = -1 ENOTTY",
      call(0x3b75, bytes([.u32(48), .u32(1)]), result: -25)),
  ]

  @Test("the line is the golden one", arguments: objects + tables + virtual + container)
  func golden(golden: Golden) {
    #expect(text(golden.record) == "[41] " + golden.line)
  }
}
