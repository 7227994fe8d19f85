public import IOMMUCore

/// The mock IOMMU: the one physical unit, and by its identity also the driver of it.
public final class MockUnit {
  /// Decides which of the driver's allocations fail.
  public let failures: FailurePlan
  /// Numbers in use, by index.
  private var numbers: [Bool] = []

  public init(failures: FailurePlan) {
    self.failures = failures
  }

  /// Devices that exist.
  public var deviceCount: Int { numbers.count { $0 } }

  /// Makes a device in a group of its own. It lives until `remove`.
  public func makeDevice(flags: MockDeviceFlags) throws(DriverError) -> MockDevice {
    guard flags.isSubset(of: [.noDirtyTracking, .pasid]) else {
      throw DriverError(.invalid, because: "the mock device has unknown flags")
    }
    try failures.countAllocation()  // the device
    try failures.countAllocation()  // its number
    try failures.countAllocation()  // its name
    try failures.countAllocation()  // its properties
    try failures.countAllocation()  // its place behind the unit
    let number = numbers.firstIndex(of: false) ?? numbers.count
    if number == numbers.count { numbers.append(true) } else { numbers[number] = true }
    let device = MockDevice(unit: self, number: number, flags: flags)
    device.group.add(device)
    return device
  }

  /// Unplugs a device that is no longer bound. Its number may be given out again.
  public func remove(_ device: MockDevice) {
    precondition(numbers[device.number], "the mock device was removed before")
    numbers[device.number] = false
    device.group.remove(device)
  }
}

extension FailurePlan {
  /// One allocation of the driver.
  @inline(__always)
  func countAllocation() throws(DriverError) {
    guard !shouldFail() else {
      throw DriverError(.outOfMemory, because: "the driver has no memory")
    }
  }
}
