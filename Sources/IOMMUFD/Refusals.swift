public import Clients
public import IOMMUCore

extension Refusal {
  /// The one place where a driver's error becomes an errno.
  public init(_ error: DriverError) {
    let errno: Errno =
      switch error.kind {
      case .invalid: .EINVAL
      case .notSupported: .EOPNOTSUPP
      case .outOfMemory: .ENOMEM
      case .badAddress: .EFAULT
      case .exists: .EEXIST
      case .notFound: .ENOENT
      case .inputOutput: .EIO
      case .busy: .EBUSY
      case .tooBig: .E2BIG
      case .outOfRange: .ERANGE
      case .addressInUse: .EADDRINUSE
      case .noDevice: .ENODEV
      case .notEncodable: .ENXIO
      case .notPermitted: .EPERM
      }
    self.init(errno, because: error.rule)
  }
}

/// Runs what a driver does, with its error as the refusal it means to the client.
public func asRefusal<Result>(_ body: () throws(DriverError) -> Result) throws(Refusal) -> Result {
  do throws(DriverError) {
    return try body()
  } catch {
    throw Refusal(error)
  }
}

extension FailurePlan {
  /// One fallible step: an allocation, unless another errno is given.
  public func step(_ errno: Errno = .ENOMEM) throws(Refusal) {
    if shouldFail() { throw Refusal(errno, because: "a fault was injected") }
  }
}

/// The last number of a range, or nil when it does not fit 64 bits. `byteCount` is not zero.
func lastByte(of start: UInt64, _ byteCount: UInt64) -> UInt64? {
  let (last, overflow) = start.addingReportingOverflow(byteCount &- 1)
  return overflow ? nil : last
}
