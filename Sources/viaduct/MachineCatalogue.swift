import CHost
import Descriptions
import Glibc
import Machine

/// The machines that can be asked for: by name, or by a file that describes one.
enum MachineCatalogue {
  struct Entry {
    let name: String
    let summary: String
    let description: MachineDescription
  }

  static let entries = [
    Entry(
      name: "mock",
      summary: "The test unit of the kernel's iommufd selftests, with its test commands.",
      description: .mock),
    Entry(
      name: "bare",
      summary: "/dev/iommu alone: address spaces, but no unit and no test commands.",
      description: .bare),
  ]

  /// Whether it names a file: anything with a slash, or the ending of YAML.
  static func isFile(_ machine: String) -> Bool {
    machine.contains("/") || machine.hasSuffix(".yaml") || machine.hasSuffix(".yml")
  }

  static func description(of machine: String) throws(CommandError) -> MachineDescription {
    guard isFile(machine) else {
      if let entry = entries.first(where: { $0.name == machine }) { return entry.description }
      let known = entries.map(\.name).joined(separator: ", ")
      throw CommandError(
        "there is no machine '\(machine)'; known are \(known), or give a file: ./\(machine).yaml")
    }
    let text = try contents(of: machine)
    do throws(DescriptionError) {
      return try MachineDescription(yaml: text, file: machine)
    } catch {
      throw CommandError(error.description)
    }
  }

  private static func contents(of path: String) throws(CommandError) -> String {
    guard let stream = unsafe fopen(path, "re") else {
      throw CommandError("cannot open \(path)", errno: errno)
    }
    defer { unsafe fclose(stream) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 4096)
    while true {
      let count = unsafe fread(&chunk, 1, chunk.count, stream)
      if count == 0 { break }
      bytes += chunk[..<count]
      guard bytes.count <= 1 << 20 else {
        throw CommandError("\(path) is larger than 1 MiB, which no description is")
      }
    }
    guard unsafe ferror(stream) == 0 else {
      throw CommandError("cannot read \(path)", errno: errno)
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}
