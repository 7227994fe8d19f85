import Glibc
import CKernelABI

// What a call costs inside the machine, client memory excluded: nanoseconds, best of five, beside
// Linux's own time inside the ioctl (map 209 and unmap 177 without a domain, 628 and 447 with one).

let clock = ContinuousClock()

func nanoseconds(_ count: Int, _ body: () -> Void) -> Double {
  var best = Double.infinity
  for _ in 0..<5 {
    let time = clock.measure(body).components
    best = min(best, (Double(time.seconds) * 1e9 + Double(time.attoseconds) / 1e9) / Double(count))
  }
  return best
}

func makeSpace(_ client: BenchClient, withDomain: Bool) -> UInt32 {
  var space = iommu_ioas_alloc()
  client.call(IOMMUFD_CMD_IOAS_ALLOC, &space)
  if withDomain {
    var device = iommu_test_cmd()
    device.op = IOMMU_TEST_OP_MOCK_DOMAIN
    device.id = space.out_ioas_id
    client.call(IOMMUFD_CMD_TEST, &device)
  }
  return space.out_ioas_id
}

func map(_ client: BenchClient, _ space: UInt32, _ page: UInt64, bytes: UInt64 = 4096, at iova: UInt64) {
  var argument = iommu_ioas_map()
  argument.flags = 7
  argument.ioas_id = space
  argument.user_va = 0x10_0000_0000 + page << 12
  argument.length = bytes
  argument.iova = iova
  client.call(IOMMUFD_CMD_IOAS_MAP, &argument)
}

func unmap(_ client: BenchClient, _ space: UInt32, _ iova: UInt64, _ bytes: UInt64) {
  var argument = iommu_ioas_unmap()
  argument.ioas_id = space
  argument.iova = iova
  argument.length = bytes
  client.call(IOMMUFD_CMD_IOAS_UNMAP, &argument)
}

let base: UInt64 = 32 << 20

func row(_ name: String, _ value: Double, linux: Double?) {
  let shown = linux.map { "\($0)   ratio \((value / $0 * 100).rounded() / 100)" } ?? "-"
  print("\(name): \(value.rounded()) ns; Linux \(shown)")
}

/// What the process has in memory now.
func residentKiB() -> Int {
  guard let file = fopen("/proc/self/statm", "r") else { return 0 }
  defer { fclose(file) }
  var line = [CChar](repeating: 0, count: 128)
  guard fgets(&line, 128, file) != nil else { return 0 }
  let bytes = line.prefix { $0 != 0 }.map(UInt8.init(bitPattern:))
  let words = String(decoding: bytes, as: UTF8.self).split(separator: " ")
  return words.count > 1 ? (Int(words[1]) ?? 0) * 4 : 0
}

// First, before other figures fill the heap; the warm-up maps one page.
do {
  let client = try BenchClient()
  let space = makeSpace(client, withDomain: true)
  map(client, space, 0, at: base)
  let before = residentKiB()
  map(client, space, 1 << 18, bytes: 1 << 30, at: 1 << 30 - 64 << 20)
  print("memory for one mapped GiB: \(residentKiB() - before) KiB; budget 64")
  client.file?.release()
}

for withDomain in [false, true] {
  let suffix = withDomain ? "one domain" : "no domain"
  let room = withDomain ? 200_000 : 1_000_000
  for areas in [1, 1000, room] {
    let client = try BenchClient()
    let space = makeSpace(client, withDomain: withDomain)
    // Every second page, so that areas stay apart and the probe lands between them.
    for index in 0..<UInt64(areas) { map(client, space, index * 2, at: base + index * 2 << 12) }
    let probe = base + (UInt64(areas) | 1) << 12
    let pairs = 20_000
    let both = nanoseconds(pairs) {
      for _ in 0..<pairs {
        map(client, space, 1 << 20, at: probe)
        unmap(client, space, probe, 4096)
      }
    }
    // Linux was measured alone (a, b) and with 262144 areas (c, C).
    let linux = areas == room ? (withDomain ? 1410.0 : 619) : (withDomain ? 1075 : 386)
    row("map + unmap 4 KiB among \(areas) areas, \(suffix)", both, linux: linux)
    client.file?.release()
  }
}

for withDomain in [false, true] {
  let client = try BenchClient()
  let space = makeSpace(client, withDomain: withDomain)
  let once = nanoseconds(1) {
    map(client, space, 0, bytes: 1 << 30, at: 1 << 30 - 64 << 20)
    unmap(client, space, 1 << 30 - 64 << 20, 1 << 30)
  }
  row(
    "map + unmap 1 GiB in one call, \(withDomain ? "one domain" : "no domain")", once,
    linux: withDomain ? 9.9e6 : 9700)
}
