/// Something that a context knows by a number and that user space can destroy by it.
///
/// `users` counts who holds it: the table itself, objects built on it, and whoever created it on
/// behalf of a driver. Only an object that nobody but the table holds can be destroyed.
open class ContextObject {
  public final var id: UInt32 = 0
  public final var users = 1
  public unowned final let context: Context
  final let environment: Environment

  public init(in context: Context) {
    self.context = context
    environment = context.environment
    environment.liveObjects += 1
  }

  deinit {
    environment.liveObjects -= 1
  }

  /// Whether something outside the object graph still uses it, such as a mapping of its pages.
  var isMapped: Bool { false }

  /// Gives back what the object holds; the table has forgotten it already.
  open func destroy() {}
}
