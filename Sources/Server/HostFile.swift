import Clients

/// A file of a machine that clients have open, or had and still map.
final class HostFile {
  let file: any MachineFile
  let realm: Realm
  let ends: DescriptorEnds
  /// Names the file in the set of ends that are watched.
  let number: UInt64
  /// The path it was opened by, or its own name.
  let path: String
  /// Fault injection is not armed for calls on the file that controls it.
  let controlsFaults: Bool
  /// Pages of it that were handed out to be mapped.
  var pages: [HostPages] = []
  /// The client has its descriptor for good: it can no longer report that this failed.
  var isSettled = false
  private(set) var isReleased = false

  init(
    _ file: any MachineFile, in realm: Realm, ends: DescriptorEnds, number: UInt64, path: String,
    controlsFaults: Bool = false
  ) {
    self.file = file
    self.realm = realm
    self.ends = ends
    self.number = number
    self.path = path
    self.controlsFaults = controlsFaults
    guard file.readiness != .always else { return }
    file.readabilityChanged = { [weak ends] readable in ends?.setReadable(readable) }
  }

  /// Pages that nobody maps any more are forgotten.
  var isMapped: Bool {
    pages.removeAll { !$0.isMapped }
    return !pages.isEmpty
  }

  /// Once.
  func release() {
    guard !isReleased else { return }
    isReleased = true
    file.readabilityChanged = nil
    file.release()
  }
}
