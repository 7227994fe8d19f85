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

  let mode: Mode
  /// As it was when the account was opened; the process may become another user since.
  let userID: UInt32
  let process: any ClientProcess
  private let environment: Environment

  init(mode: Mode, process: any ClientProcess, in environment: Environment) {
    self.mode = mode
    userID = process.userID
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

  /// The account of the same mode with another process.
  func with(_ process: any ClientProcess) -> Self {
    Self(mode: mode, process: process, in: environment)
  }

  /// Whether pages that move between the two change nobody's count.
  func isSame(as other: Self) -> Bool {
    process === other.process && (mode != .user || userID == other.userID)
  }

  func charge(_ pages: UInt64) throws(Refusal) {
    switch mode {
    case .none: break
    case .user:
      let locked = environment.lockedPagesByUser[userID, default: 0] + pages
      if let limit = process.lockedMemoryLimit, locked > limit {
        throw Refusal(.ENOMEM, because: "the user's limit of locked memory is reached")
      }
      environment.lockedPagesByUser[userID] = locked
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
      environment.lockedPagesByUser[userID, default: 0] -= pages
    case .process:
      process.lockedPages -= Int(pages)
    }
    process.pinnedPages -= Int(pages)
  }
}

extension Pages {
  /// Counts the pinned pages for another process. `settle` or `moveBack` must follow.
  func move(to process: any ClientProcess) throws(Refusal) {
    let next = account.with(process)
    // The new account pays before the old one is relieved, even where both are the same user's.
    guard !next.isSame(as: account) else { return }
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
