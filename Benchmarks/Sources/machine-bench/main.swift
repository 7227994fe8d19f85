import Glibc
import CKernelABI

// What a call costs inside the machine, client memory excluded: nanoseconds, best of five, beside
// Linux's own time inside the ioctl (linux-7.3: 209/177 without a domain, 628/447 with one).

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

let d = CommandLine.arguments.count > 1
let client = try BenchClient()
let space = makeSpace(client, withDomain: d)
map(client, space, 0, at: base)
for _ in 0..<20000 { map(client, space, 1 << 20, at: base + 8192); unmap(client, space, base + 8192, 4096) }
