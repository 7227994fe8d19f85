import CHost
import Glibc

/// A thread of the server. It takes no signals; those are for the program around it.
final class ServerThread {
  private final class Body {
    let run: () -> Void
    init(_ run: @escaping () -> Void) { self.run = run }
  }

  private let handle: UInt64

  /// Nil when the system has no thread left.
  init?(_ run: @escaping () -> Void) {
    let body = unsafe Unmanaged.passRetained(Body(run))
    var handle: UInt64 = 0
    let started = unsafe host_thread_start(
      { argument in
        guard let argument = unsafe argument else { return }
        unsafe Unmanaged<Body>.fromOpaque(argument).takeRetainedValue().run()
      }, body.toOpaque(), &handle)
    guard started == 0 else {
      unsafe body.release()
      return nil
    }
    self.handle = handle
  }

  /// Waits for the end; `wake` is called again and again, since the thread may just have missed it.
  func join(waking wake: () -> Void) {
    repeat { wake() } while host_thread_join(handle, 5) == -ETIMEDOUT
  }
}
