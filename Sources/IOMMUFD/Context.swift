public import Clients
public import Hardware
public import IOMMUCore

/// What all contexts of a machine share.
public final class Environment {
  public let failures: FailurePlan
  public let physicalMemory: PhysicalMemory
  public let sharedPages: any SharedPagesProvider
  /// The commands of /dev/iommu by number, test commands included where the machine has them.
  public let commands: CommandTable
  /// What the machine's own commands work with, such as the unit of its test commands.
  private let services: [AnyObject]
  /// Pages that count against each user's limit of locked memory.
  var lockedPagesByUser: [UInt32: UInt64] = [:]

  public internal(set) var liveObjects = 0
  public internal(set) var liveContexts = 0
  public internal(set) var liveAreas = 0
  public internal(set) var livePages = 0

  public init(
    failures: FailurePlan, physicalMemory: PhysicalMemory,
    sharedPages: any SharedPagesProvider, commands: CommandTable, services: [AnyObject] = []
  ) {
    self.services = services
    self.failures = failures
    self.physicalMemory = physicalMemory
    self.sharedPages = sharedPages
    self.commands = commands
  }

  public func service<Service: AnyObject>(_ type: Service.Type) -> Service? {
    services.lazy.compactMap { $0 as? Service }.first
  }
}

/// One open `/dev/iommu`: a set of objects that belong together (kernel: iommufd_ctx).
///
/// It lives until its file and every event queue and access made from it are closed.
public final class Context {
  /// Whose limit pinned memory counts against (IOMMU_OPTION_RLIMIT_MODE).
  enum Accounting {
    case user
    case process
  }

  public let environment: Environment
  var accounting = Accounting.user
  var objects = ObjectTable()
  /// The space that VFIO's commands, which name none, work on.
  var compatibilitySpace: IOAddressSpace?
  var groups: [ObjectIdentifier: ContextGroup] = [:]
  var mappings = MappingTable()
  private var references = 1

  public init(in environment: Environment) {
    self.environment = environment
    environment.liveContexts += 1
  }

  public var failures: FailurePlan { environment.failures }

  /// Another file keeps the context alive.
  public func retain() { references += 1 }

  /// A file that kept the context alive is closed.
  public func release() {
    references -= 1
    guard references == 0 else { return }
    destroyEverything()
    environment.liveContexts -= 1
  }
}

extension Context {
  /// Gives a new object its number; `publish` or `abandon` must follow.
  public func reserve<Object: ContextObject>(_ object: Object) throws(Refusal) -> Object {
    try failures.step()
    object.id = objects.reserve()
    return object
  }

  /// Lets user space find the object. Nothing of its making can fail any more.
  public func publish(_ object: ContextObject) {
    objects.publish(object)
  }

  /// Undoes `reserve` for an object that holds nothing.
  public func abandon(_ object: ContextObject) {
    objects.release(object.id)
  }

  /// Undoes `reserve` and what the object has taken hold of since.
  public func abort(_ object: ContextObject) {
    object.destroy()
    objects.release(object.id)
  }

  /// Finds an object of a certain kind, as every command does first.
  public func object<Object: ContextObject>(
    _ id: UInt32, as type: Object.Type = Object.self
  ) throws(Refusal) -> Object {
    if failures.shouldFail() { throw Refusal(.ENOENT, because: "a fault was injected") }
    guard let object = objects[id] as? Object else {
      throw Refusal(.ENOENT, because: "no object of this kind has that id")
    }
    return object
  }

  /// IOMMU_DESTROY: removes an object that nobody uses.
  func destroy(_ id: UInt32) throws(Refusal) {
    guard let object = objects[id] else {
      throw Refusal(.ENOENT, because: "no object has that id")
    }
    guard object.users == 1, !object.isMapped else {
      throw Refusal(.EBUSY, because: "other objects, a device or a mapping use it")
    }
    remove(object, leavingTombstone: false)
  }

  /// Removes an object whose maker gives it up; nobody else may hold it.
  public func destroyOwned(_ object: ContextObject, leavingTombstone: Bool = false) {
    object.users -= 1
    precondition(object.users == 1, "an object is in use when its maker gives it up")
    remove(object, leavingTombstone: leavingTombstone)
  }

  /// Removes an object whose descriptor never reached the client.
  func destroyUnused(_ object: ContextObject) {
    if object.users == 1 { remove(object, leavingTombstone: false) }
  }

  /// Drops one use, and the object with it when that was the last but the table's.
  func dropAndTryDestroy(_ object: ContextObject) {
    object.users -= 1
    if object.users == 1 { remove(object, leavingTombstone: false) }
  }

  private func remove(_ object: ContextObject, leavingTombstone: Bool) {
    if compatibilitySpace === object { compatibilitySpace = nil }
    if leavingTombstone { objects.bury(object.id) } else { objects.release(object.id) }
    object.destroy()
  }

  /// Users form a graph without cycles: repeatedly removes the leaves.
  private func destroyEverything() {
    while true {
      let leaves = objects.objects.filter { $0.users == 1 }
      guard !leaves.isEmpty else { break }
      // A leaf's destruction may take others along.
      for leaf in leaves where objects[leaf.id] === leaf && leaf.users == 1 {
        remove(leaf, leavingTombstone: false)
      }
    }
    precondition(objects.objects.isEmpty, "objects hold each other when their context closes")
  }
}
