import CHost
import Clients
import Glibc

/// The kernel object that stands for a machine's file in a client: the host keeps one end, the
/// client gets the other. When the client's last descriptor closes, the host's end shows it.
final class DescriptorEnds {
  enum Kind: UInt32 {
    case socket = 1  // VIADUCT_KIND_SOCKET
    case pipe = 2  // VIADUCT_KIND_PIPE
  }

  let kind: Kind
  let key: FileKey
  let host: Descriptor
  /// The client's end, until the client has it.
  private(set) var client: Descriptor?
  private var isReadable = false

  /// Nil when the host has no descriptor left.
  init?(_ readiness: Readiness) {
    var ends: (Int32, Int32) = (-1, -1)
    let made = unsafe withUnsafeMutablePointer(to: &ends) { ends in
      unsafe ends.withMemoryRebound(to: Int32.self, capacity: 2) { ends in
        unsafe readiness == .always ? host_socket_pair(ends) : host_pipe(ends)
      }
    }
    guard made == 0 else { return nil }
    let first = Descriptor(owning: ends.0)
    host = Descriptor(owning: ends.1)
    let client = readiness == .queueBothWays ? first.reopened(O_RDWR) : first
    guard let client, let status = client.status else { return nil }
    kind = readiness == .always ? .socket : .pipe
    key = FileKey(status)
    self.client = client
    if readiness == .always {
      setReadable(true)
    } else {
      // The host's end never blocks; whether the client's does is the client's affair.
      _ = fcntl(client.number, F_SETFL, fcntl(client.number, F_GETFL) & ~O_NONBLOCK)
    }
  }

  func takeClientEnd() -> Descriptor? {
    defer { client = nil }
    return client
  }

  /// One byte in the kernel object makes `poll` show the file as readable.
  func setReadable(_ readable: Bool) {
    guard readable != isReadable else { return }
    isReadable = readable
    var byte: UInt8 = 0
    if readable {
      _ = unsafe write(host.number, &byte, 1)
    } else if let reader = host.reopened(O_RDONLY | O_NONBLOCK) {
      _ = unsafe read(reader.number, &byte, 1)
    }
  }

  /// Whether the client's end has closed everywhere.
  var hasEnded: Bool { client == nil && host_poll(host.number, 0) & HOST_ENDED != 0 }
}
