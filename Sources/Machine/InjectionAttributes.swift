internal import Clients

/// The files below /sys/kernel/debug by which Linux's fault injection is set up: a directory for
/// each kind of fault, a file for each attribute. What they hold is kept; fail-nth does the
/// injection.
final class InjectionAttributes {
  private enum Form {
    case number
    case boolean
  }

  private static let root = "/sys/kernel/debug"
  private static let kinds = ["failslab", "fail_page_alloc", "fail_iommufd"]
  private static let common: [(name: String, form: Form, value: String)] = [
    ("probability", .number, "0"), ("interval", .number, "1"), ("times", .number, "1"),
    ("space", .number, "0"), ("verbose", .number, "2"), ("task-filter", .boolean, "N"),
    ("verbose_ratelimit_interval_ms", .number, "0"),
    ("verbose_ratelimit_burst", .number, "10"),
  ]
  private static let memory: [(name: String, form: Form, value: String)] = [
    ("ignore-gfp-wait", .boolean, "Y")
  ]
  private static let pageAllocation: [(name: String, form: Form, value: String)] = [
    ("ignore-gfp-wait", .boolean, "Y"), ("ignore-gfp-highmem", .boolean, "Y"),
    ("min-order", .number, "1"),
  ]

  private var values: [String: (form: Form, value: String)] = [:]

  init() {
    for kind in Self.kinds {
      let special =
        switch kind {
        case "failslab": Self.memory
        case "fail_page_alloc": Self.pageAllocation
        default: Self.memory.filter { _ in false }
        }
      for attribute in Self.common + special {
        values["\(Self.root)/\(kind)/\(attribute.name)"] = (attribute.form, attribute.value)
      }
    }
  }

  /// What a listing of the directories shows; the files are served, not read from there.
  var entries: [TreeEntry] {
    Self.kinds.map { TreeEntry(path: "\(Self.root)/\($0)", kind: .directory) }
      + values.keys.sorted().map { TreeEntry(path: $0, kind: .file(contents: "")) }
  }

  func file(at path: String) -> TextFile? {
    values[path] == nil ? nil : AttributeFile(path: path, in: self)
  }

  fileprivate func value(at path: String) -> String { values[path]?.value ?? "" }

  fileprivate func set(_ text: String, at path: String) throws(Refusal) {
    guard let form = values[path]?.form else { return }
    switch form {
    case .number:
      guard Int64(text) != nil else { throw Refusal(.EINVAL, because: "the text is no number") }
      values[path]?.value = text
    case .boolean:
      switch text {
      case "Y", "y", "1": values[path]?.value = "Y"
      case "N", "n", "0": values[path]?.value = "N"
      default: throw Refusal(.EINVAL, because: "the text is neither Y nor N")
      }
    }
  }
}

private final class AttributeFile: TextFile {
  private let path: String
  private let attributes: InjectionAttributes

  init(path: String, in attributes: InjectionAttributes) {
    self.path = path
    self.attributes = attributes
  }

  override var name: String { path }
  override var contents: String { attributes.value(at: path) + "\n" }

  override func accept(_ text: String) throws(Refusal) {
    try attributes.set(text, at: path)
  }
}
