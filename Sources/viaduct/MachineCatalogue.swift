import Clients
import Machine

/// The machines that can be asked for by name.
enum MachineCatalogue {
  struct Entry {
    let name: String
    let summary: String
  }

  static let entries = [
    Entry(
      name: "mock",
      summary: "The test unit of the kernel's iommufd selftests, with its test commands.")
  ]

  /// What makes such a machine, or nil when there is none of this name.
  static func maker(
    of name: String
  ) -> ((any SharedPagesProvider) -> any ServedMachine)? {
    switch name {
    case "mock": { Machine(sharedPages: $0) }
    default: nil
    }
  }
}
