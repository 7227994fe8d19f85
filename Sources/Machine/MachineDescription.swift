/// What a machine is made of, before there is one.
public struct MachineDescription: Equatable, Sendable {
  /// A model of IOMMU, by the word that descriptions have for it.
  public enum UnitModel: String, CaseIterable, Sendable {
    /// The unit that Linux's iommufd selftests drive, with their test commands.
    case mock
  }

  /// What limits the memory that clients pin.
  public enum LockedMemory: String, CaseIterable, Sendable {
    case unlimited
    /// The client's own RLIMIT_MEMLOCK.
    case client
  }

  /// At most one of the mock model: test commands name no unit.
  public var units: [UnitModel]
  public var lockedMemory: LockedMemory

  public init(units: [UnitModel], lockedMemory: LockedMemory = .unlimited) {
    self.units = units
    self.lockedMemory = lockedMemory
  }

  /// The machine on which Linux's selftests run.
  public static var mock: Self { Self(units: [.mock]) }
  /// /dev/iommu as on a kernel without test support and without IOMMUs.
  public static var bare: Self { Self(units: []) }
}
