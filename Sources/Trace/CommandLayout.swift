internal import CKernelABI

/// What an ioctl takes: its name and the meaning of its argument.
struct CommandLayout: Sendable {
  enum Argument: Sendable {
    case nothing
    /// The argument is the number itself.
    case value(FieldKind)
    /// The argument points to a structure of this size, whose first word is the client's idea of
    /// it.
    case structure(byteCount: Int, [Field])
  }

  let name: String
  let argument: Argument

  /// A command whose argument is a C structure.
  static func structure<Structure>(
    _ name: String, _: Structure.Type, _ fields: [FieldOf<Structure>]
  ) -> Self {
    Self(
      name: name,
      argument: .structure(byteCount: MemoryLayout<Structure>.size, fields.map(\.field)))
  }
}

/// What is read or written, one record behind the other.
struct RecordLayout: Sendable {
  let byteCount: Int
  let fields: [Field]

  init<Structure>(_: Structure.Type, _ fields: [FieldOf<Structure>]) {
    byteCount = MemoryLayout<Structure>.size
    self.fields = fields.map(\.field)
  }
}

/// The ioctls we can name.
enum CommandTable {
  private static let layouts: [UInt32: CommandLayout] = {
    var layouts = VFIOCommands.layouts
    for (number, layout) in IOMMUFDCommands.layouts {
      layouts[viaduct_ioctl_request(number)] = layout
    }
    return layouts
  }()

  /// The layout of a request. What the test command takes depends on the operation in its argument.
  static func layout(of request: UInt32, argument: ByteWindow) -> CommandLayout? {
    if request == viaduct_ioctl_request(IOMMUFD_CMD_TEST) { return TestCommands.layout(argument) }
    return layouts[request]
  }

  /// The records that are read from or written to a file, by its name.
  static func record(in file: String, isRead: Bool) -> RecordLayout? {
    guard file == "[iommufd-pgfault]" else { return nil }
    return isRead ? QueueRecords.pageFault : QueueRecords.pageResponse
  }
}
