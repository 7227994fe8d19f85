internal import Clients

/// Whom pinned pages are counted for, and against which limit.
struct Account {
  enum Mode {
    /// The process may lock memory without limit.
    case none
    /// Against what the user's processes have locked together.
    case user
    /// Against what the process has locked, as VFIO does.
    case process
  }

  var mode: Mode
  var process: any ClientProcess
  private let environment: Environment

  init(mode: Mode, process: any ClientProcess, in environment: Environment) {
    self.mode = mode
    self.process = process
    self.environment = environment
  }

  /// The account for memory that `process` maps now.
  static func present(of process: any ClientProcess, in context: Context) -> Self {
    var mode = Mode.user
    // Asking for capabilities costs a look at /proc; without a limit it would change nothing.
    if context.accounting == .process || process.lockedMemoryLimit != nil {
      if process.has(.lockMemory) {
        mode = .none
      } else if context.accounting == .process {
        mode = .process
      }
    }
    return Self(mode: mode, process: process, in: context.environment)
  }

  func charge(_ pages: UInt64) throws(Refusal) {
    switch mode {
    case .none: break
    case .user:
      if let limit = process.lockedMemoryLimit {
        let locked = environment.lockedPagesByUser[process.userID, default: 0]
        guard locked + pages <= limit else {
          throw Refusal(.ENOMEM, because: "the user's limit of locked memory is reached")
        }
        environment.lockedPagesByUser[process.userID] = locked + pages
      }
    case .process:
      if let limit = process.lockedMemoryLimit {
        guard UInt64(process.lockedPages) + pages <= limit else {
          throw Refusal(.ENOMEM, because: "the process's limit of locked memory is reached")
        }
      }
      process.lockedPages += Int(pages)
    }
    process.pinnedPages += Int(pages)
  }

  func uncharge(_ pages: UInt64) {
    switch mode {
    case .none: break
    case .user:
      if let locked = environment.lockedPagesByUser[process.userID] {
        environment.lockedPagesByUser[process.userID] = locked > pages ? locked - pages : nil
      }
    case .process:
      process.lockedPages -= Int(pages)
    }
    process.pinnedPages -= Int(pages)
  }
}

extension Pages {
  /// Counts the pinned pages for another process. `settle` or `moveBack` must follow.
  func move(to process: any ClientProcess) throws(Refusal) {
    var next = account
    next.process = process
    try next.charge(pinnedCount)
    former = account
    account = next
  }

  func moveBack() {
    guard let previous = former else { return }
    account.uncharge(pinnedCount)
    account = previous
    former = nil
  }

  func settle() {
    former?.uncharge(pinnedCount)
    former = nil
  }
}
