/// Fault injection: counts the fallible steps of a call down and makes one fail.
///
/// The machine owns one plan and arms it before each call with the calling thread's count, as
/// Linux's fail-nth does for a task. Zero is unarmed.
public final class FailurePlan {
  /// Steps until the one that fails; 0 when none will.
  public var remaining: UInt32 = 0

  public init() {}

  /// Counts one fallible step; true when it has to fail.
  @inlinable
  public func shouldFail() -> Bool {
    guard remaining > 0 else { return false }
    remaining -= 1
    return remaining == 0
  }
}
