/// An address on the memory side of the IOMMU. A distinct type, so that it never meets an IOVA by
/// accident.
public struct PhysicalAddress: Hashable, Comparable, Sendable, BitwiseCopyable {
  public var rawValue: UInt64
  @inlinable public init(_ rawValue: UInt64) { self.rawValue = rawValue }

  @inlinable public static func < (left: Self, right: Self) -> Bool {
    left.rawValue < right.rawValue
  }
  /// The address `bytes` further up.
  @inlinable public func advanced(by bytes: UInt64) -> Self { Self(rawValue &+ bytes) }
}

/// An address as the device sees it.
public struct IOVirtualAddress: Hashable, Comparable, Sendable, BitwiseCopyable {
  public var rawValue: UInt64
  @inlinable public init(_ rawValue: UInt64) { self.rawValue = rawValue }

  @inlinable public static func < (left: Self, right: Self) -> Bool {
    left.rawValue < right.rawValue
  }
}

/// What a mapping lets a device do.
public struct Access: OptionSet, Hashable, Sendable, BitwiseCopyable {
  public var rawValue: UInt8
  @inlinable public init(rawValue: UInt8) { self.rawValue = rawValue }
  @inlinable public static var read: Self { Self(rawValue: 1) }
  @inlinable public static var write: Self { Self(rawValue: 2) }
}

/// The unit of pinning, as the client's processor has it.
@inlinable public var pageBytes: UInt64 { 4096 }
@inlinable public var pageShift: UInt64 { 12 }
