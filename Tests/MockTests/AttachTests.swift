import Hardware
import IOMMUCore
import Testing

@testable import Mock

@Suite("Mock attachment")
struct AttachTests {
  @Test("a domain with dirty tracking needs a device that has it")
  func dirtyTracking() throws {
    let unit = try Bench()
    let device = try unit.unit.makeDevice(flags: .noDirtyTracking)
    let tracking = try unit.domain(dirty: true)
    tracking.pageRequestHandler = IgnoringHandler()
    #expect(
      refusal { try device.setDomain(tracking, pasid: nil, replacing: nil) } == .invalid)
    #expect(device.pageRequestUsers == 0)
    try device.setDomain(unit.domain(), pasid: nil, replacing: nil)
    // Without a look at the options of the domain, as PASIDs are attached on Linux.
    try device.setDomain(tracking, pasid: 5, replacing: nil)
  }

  @Test("a nested domain of a virtual IOMMU needs a virtual id, which then is the device's")
  func virtualID() throws {
    let bench = try Bench()
    let host = FakeHost()
    let virtualIOMMU = try bench.virtualIOMMU(host: host)
    let data = FakeMemory([1]).data(type: 0xdead)
    let nested = try virtualIOMMU.allocateNestedDomain([], data)
    // The id is checked before the step that can fail.
    nested.pageRequestHandler = IgnoringHandler()
    bench.failures.remaining = 1
    #expect(
      refusal { try bench.device.setDomain(nested, pasid: nil, replacing: nil) } == .notFound)
    #expect(bench.failures.remaining == 1)
    bench.failures.remaining = 0

    host.devices[0x99] = bench.device
    try bench.device.setDomain(nested, pasid: nil, replacing: nil)
    #expect(bench.device.virtualIOMMU === virtualIOMMU)
    #expect(bench.device.virtualID == 0x99)

    host.devices = [0x55: bench.device]
    try bench.device.setDomain(nested, pasid: nil, replacing: nested)
    #expect(bench.device.virtualID == 0x99)

    try bench.device.setDomain(nil, pasid: nil, replacing: nested)
    #expect(bench.device.virtualIOMMU == nil)
    #expect(bench.device.pageRequestUsers == 0)
    #expect(bench.device.domain == nil)
  }

  @Test("a nested domain of no virtual IOMMU needs none")
  func plainNested() throws {
    let bench = try Bench()
    try bench.device.setDomain(bench.nested(), pasid: nil, replacing: nil)
    #expect(bench.device.virtualIOMMU == nil)
  }

  @Test("events carry the virtual id, and need one that is not zero")
  func events() throws {
    let bench = try Bench()
    let host = FakeHost()
    let virtualIOMMU = try bench.virtualIOMMU(host: host)
    let nested = try virtualIOMMU.allocateNestedDomain([], FakeMemory([1]).data(type: 0xdead))
    #expect(refusal { try bench.device.raiseVirtualEvent() } == .notFound)
    host.devices[0] = bench.device
    try bench.device.setDomain(nested, pasid: nil, replacing: nil)
    #expect(refusal { try bench.device.raiseVirtualEvent() } == .notFound)

    try bench.device.setDomain(nil, pasid: nil, replacing: nested)
    host.devices = [0x1_0203_0405: bench.device]
    try bench.device.setDomain(nested, pasid: nil, replacing: nil)
    try bench.device.raiseVirtualEvent()
    #expect(host.events.count == 1)
    #expect(host.events.first?.type == 0xbeef_beef)
    #expect(host.events.first?.bytes == [5, 4, 3, 2])
  }

  @Test("page requests are counted over attachments")
  func pageRequests() throws {
    let bench = try Bench(flags: .pasid)
    let reporting = try bench.domain()
    reporting.pageRequestHandler = IgnoringHandler()
    let plain = try bench.domain()
    try bench.device.setDomain(reporting, pasid: nil, replacing: nil)
    try bench.device.setDomain(reporting, pasid: 7, replacing: nil)
    #expect(bench.device.pageRequestUsers == 2)
    try bench.device.setDomain(plain, pasid: nil, replacing: reporting)
    try bench.device.setDomain(nil, pasid: 7, replacing: reporting)
    #expect(bench.device.pageRequestUsers == 0)
  }

  @Test("every second use of PASID 1024 fails, and the blocked state starts afresh")
  func fakeError() throws {
    let bench = try Bench(flags: .pasid)
    let domain = try bench.domain()
    domain.pageRequestHandler = IgnoringHandler()
    let uses: [Domain?] = [domain, domain, domain, nil, domain, domain, nil, domain]
    let outcomes = uses.map { next in
      refusal { try bench.device.setDomain(next, pasid: 1024, replacing: nil) }
    }
    #expect(outcomes == [nil, .outOfMemory, nil, nil, nil, .outOfMemory, nil, nil])
    #expect(bench.device.pageRequestUsers == 4)
    #expect(refusal { try bench.device.setDomain(domain, pasid: 1023, replacing: nil) } == nil)
  }

  @Test("a replacement on PASID 1024 that fails can go back to the old domain")
  func rollBack() throws {
    let bench = try Bench(flags: .pasid)
    let group = bench.device.group
    let old = Attachment(domain: try bench.domain(), holder: bench.unit)
    let new = Attachment(domain: try bench.domain(), holder: bench.unit)
    try group.attach(old, pasid: 1024)
    #expect(refusal { try group.replace(with: new, pasid: 1024) } == .outOfMemory)
    #expect(group.attachment(pasid: 1024) === old)
    try group.replace(with: new, pasid: 1024)
    #expect(group.attachment(pasid: 1024) === new)
  }

  @Test("domains of another unit are refused by the group")
  func otherUnit() throws {
    let bench = try Bench()
    let foreign = Attachment(domain: try Bench().domain(), holder: bench.unit)
    #expect(refusal { try bench.device.group.attach(foreign) } == .invalid)
  }
}
