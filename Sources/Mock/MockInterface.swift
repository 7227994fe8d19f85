/// Numbers the mock gives to its own data wherever the interface asks for a type.
enum MockType {
  static var defaultHardwareInfo: UInt32 { 0 }  // IOMMU_HW_INFO_TYPE_DEFAULT
  static var hardwareInfo: UInt32 { 0xfeed_beef }  // IOMMU_HW_INFO_TYPE_SELFTEST
  static var noDomainData: UInt32 { 0 }  // IOMMU_HWPT_DATA_NONE
  static var domainData: UInt32 { 0xdead }  // IOMMU_HWPT_DATA_SELFTEST
  static var domainInvalidation: UInt32 { 0xdead_beef }  // IOMMU_HWPT_INVALIDATE_DATA_SELFTEST
  static var virtualIOMMU: UInt32 { 0xdead_beef }  // IOMMU_VIOMMU_TYPE_SELFTEST
  static var deviceInvalidation: UInt32 { 0xdead_beef }  // IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST
  static var event: UInt32 { 0xbeef_beef }  // IOMMU_VEVENTQ_TYPE_SELFTEST
  static var hardwareQueue: UInt32 { 0xdead_beef }  // IOMMU_HW_QUEUE_TYPE_SELFTEST
}

/// Data for a domain, nested or not (struct iommu_hwpt_selftest).
struct MockDomainData: BitwiseCopyable {
  /// What the IOTLB words of a nested domain start with.
  var iotlb: UInt32 = 0
  var tableKind: UInt32 = 0  // pagetable_type

  /// Older clients end after the first field.
  static var minimumBytes: Int { 4 }
}

/// The page-table formats a client can choose.
enum MockTableKind: UInt32 {
  case standard = 0  // MOCK_IOMMUPT_DEFAULT
  case huge = 1  // MOCK_IOMMUPT_HUGE
}

/// One invalidation of a nested domain (struct iommu_hwpt_invalidate_selftest).
struct MockDomainInvalidation: BitwiseCopyable {
  var flags: UInt32 = 0
  var word: UInt32 = 0  // iotlb_id

  static var minimumBytes: Int { 8 }
}

/// One invalidation of a device's cache (struct iommu_viommu_invalidate_selftest).
struct MockDeviceInvalidation: BitwiseCopyable {
  var flags: UInt32 = 0
  var virtualID: UInt32 = 0  // vdev_id
  var word: UInt32 = 0  // cache_id
}

/// Invalidates every word; the only flag there is (IOMMU_TEST_INVALIDATE_FLAG_ALL).
var mockInvalidateAll: UInt32 { 1 }

/// Data for a virtual IOMMU, which comes back changed (struct iommu_viommu_selftest).
struct MockVirtualIOMMUData: BitwiseCopyable {
  var input: UInt32 = 0  // in_data
  var output: UInt32 = 0  // out_data
  var mappingOffset: UInt64 = 0  // out_mmap_offset
  var mappingBytes: UInt64 = 0  // out_mmap_length

  /// Older clients end after `output`.
  static var minimumBytes: Int { 8 }
}

/// Words of simulated cache in a device and in a nested domain (MOCK_DEV_CACHE_NUM and others).
public typealias MockCache = InlineArray<4, UInt32>

/// What a mock device lacks or has beyond the usual.
public struct MockDeviceFlags: OptionSet, Sendable {
  public var rawValue: UInt32
  public init(rawValue: UInt32) { self.rawValue = rawValue }
  public static var noDirtyTracking: Self { Self(rawValue: 1 << 0) }  // MOCK_FLAGS_DEVICE_NO_DIRTY
  public static var pasid: Self { Self(rawValue: 1 << 2) }  // MOCK_FLAGS_DEVICE_PASID
}

/// Bytes of 32-bit words as x86 and Arm store them.
func littleEndianBytes(_ words: UInt32...) -> [UInt8] {
  words.flatMap { word in (0..<4).map { UInt8(truncatingIfNeeded: word >> ($0 * 8)) } }
}
