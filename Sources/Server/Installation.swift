import CHost

/// A descriptor that a client was promised: it claims it over the socket by its token.
struct Installation {
  /// The client's end; nil once it has been handed over.
  var descriptor: Descriptor?
  let file: HostFile?
  /// Who may claim it.
  let process: Int32
  let session: UInt64
}

/// Promised descriptors by token. Tokens are random, so that no client claims what another was
/// promised.
struct InstallationTable {
  private var entries: [UInt64: Installation] = [:]

  var count: Int { entries.count }
  subscript(token: UInt64) -> Installation? { entries[token] }

  mutating func insert(_ installation: Installation) -> UInt64 {
    var token: UInt64 = 0
    repeat {
      _ = unsafe withUnsafeMutableBytes(of: &token) { unsafe host_random($0.baseAddress, $0.count) }
    } while token == 0 || entries[token] != nil
    entries[token] = installation
    return token
  }

  func unclaimedCount(of session: UInt64) -> Int {
    entries.values.count { $0.session == session && $0.descriptor != nil }
  }

  mutating func takeDescriptor(_ token: UInt64) -> Descriptor? {
    guard let descriptor = entries[token]?.descriptor else { return nil }
    entries[token]?.descriptor = nil
    return descriptor
  }

  mutating func remove(_ token: UInt64) -> Installation? { entries.removeValue(forKey: token) }

  mutating func removeAll(of session: UInt64) -> [Installation] {
    let ended = entries.filter { $0.value.session == session }
    for token in ended.keys { entries[token] = nil }
    return Array(ended.values)
  }
}
