import CChannel
import CHost
import Clients

/// What a request ends with.
struct Answer {
  var raw = host_answer()
  /// A path or structure that goes into the window.
  var bytes: [UInt8] = []
  /// Why it was refused.
  var rule: StaticString?
  /// What the call was made on, for the trace.
  var name = ""

  static var pass: Answer { Answer(action: VIADUCT_PASS) }

  init(result: Int64) { raw.result = result }

  init(_ refusal: Refusal) {
    raw.result = -Int64(refusal.errno.rawValue)
    rule = refusal.rule
  }

  init(action: viaduct_action) { raw.action = action.rawValue }

  /// Make the same call on another path.
  init(redirect path: String) {
    self.init(action: VIADUCT_REDIRECT)
    bytes = Array(path.utf8) + [0]
  }

  /// Send descriptor `number`, then ask again.
  init(provide number: Int32) {
    self.init(action: VIADUCT_PROVIDE)
    raw.value0 = UInt64(UInt32(bitPattern: number))
  }

  /// Fetch a descriptor.
  init(token: UInt64, closeOnExec: Bool) {
    self.init(action: VIADUCT_DESCRIPTOR)
    raw.value1 = token
    raw.value3 = closeOnExec ? 1 : 0
  }

  func named(_ name: String) -> Answer {
    var copy = self
    copy.name = name
    return copy
  }
}
