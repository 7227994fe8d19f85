public import Clients
internal import Hardware

/// The descriptor of /dev/iommu, or of /dev/vfio/vfio where iommufd serves it.
public final class IOMMUFDFile: MachineFile {
  /// Device numbers of the file; the minor one of /dev/iommu is dynamic in Linux.
  public enum Node: Sendable {
    case iommu
    case vfioContainer

    public var path: String {
      switch self {
      case .iommu: "/dev/iommu"
      case .vfioContainer: "/dev/vfio/vfio"
      }
    }

    public var status: FileStatus {
      switch self {
      case .iommu: FileStatus(mode: 0o020660, special: (10, 125))
      case .vfioContainer: FileStatus(mode: 0o020666, special: (10, 196))
      }
    }
  }

  public let context: Context
  private let node: Node

  public init(_ node: Node, in environment: Environment) throws(Refusal) {
    try environment.failures.step()
    context = Context(in: environment)
    self.node = node
    // VFIO has always counted locked memory by process.
    if node == .vfioContainer { context.accounting = .process }
  }

  public var name: String { node.path }
  public var status: FileStatus { node.status }

  public func ioctl(
    _ request: UInt32, _ argument: UInt64, caller: any Caller
  ) throws(Refusal) -> Int64 {
    let number = request & 0xff
    guard number >= CommandTable.first, number <= CommandTable.last else {
      return try context.compatibilityCommand(request, argument, caller: caller)
    }
    return try context.environment.commands.run(request, argument, in: context, caller)
  }

  public func map(
    byteCount: UInt64, protection: Int32, flags: Int32, offset: UInt64, caller: any Caller
  ) throws(Refusal) -> any SharedPages {
    guard flags & 0xf != 2 else {  // MAP_PRIVATE
      throw Refusal(.EINVAL, because: "the pages can only be mapped shared")
    }
    guard protection & 4 == 0 else {  // PROT_EXEC
      throw Refusal(.EPERM, because: "the pages cannot be executed")
    }
    let rounded = (byteCount &+ (pageBytes - 1)) & ~(pageBytes - 1)
    guard let pages = context.mappings.pages(at: offset, byteCount: rounded) else {
      throw Refusal(.ENXIO, because: "no pages of this length lie at that offset")
    }
    return pages
  }

  public func release() {
    context.release()
  }
}
