public import Machine
internal import Yams

/// Why a text describes no machine, with the line and what to write instead.
public struct DescriptionError: Error, Equatable, CustomStringConvertible {
  public let file: String
  /// Counted from 1; nil when it is about the text as a whole.
  public let line: Int?
  public let reason: String

  public var description: String {
    line.map { "\(file):\($0): \(reason)" } ?? "\(file): \(reason)"
  }
}

extension MachineDescription {
  /// Reads a description in YAML: a mapping with `units`, a list of mappings with `model`, and
  /// optionally `memlock`. `file` is the name for errors.
  public init(yaml text: String, file: String) throws(DescriptionError) {
    let reader = DescriptionReader(file: file)
    self = try reader.machine(reader.root(of: text))
  }
}

/// Walks the nodes of one description.
private struct DescriptionReader {
  let file: String

  private static var example: String { "units: [{model: mock}]" }

  func root(of text: String) throws(DescriptionError) -> Node {
    let node: Node?
    do {
      node = try compose(yaml: text)
    } catch let error as YamlError {
      throw failure(at: error)
    } catch {
      throw DescriptionError(file: file, line: nil, reason: "\(error)")
    }
    guard let node else {
      throw DescriptionError(
        file: file, line: nil, reason: "the file is empty; write for example \(Self.example)")
    }
    return node
  }

  func machine(_ node: Node) throws(DescriptionError) -> MachineDescription {
    var units: [MachineDescription.UnitModel]?
    var lockedMemory = MachineDescription.LockedMemory.unlimited
    for (key, name, value) in try entries(
      of: node, is: "a machine", example: Self.example)
    {
      switch name {
      case "units": units = try self.units(value)
      case "memlock": lockedMemory = try word(value, of: "memlock")
      default: throw unknown(key, name, known: ["units", "memlock"])
      }
    }
    guard let units else {
      throw failure(node, "the machine has no `units`; write for example \(Self.example)")
    }
    return MachineDescription(units: units, lockedMemory: lockedMemory)
  }

  private func units(
    _ node: Node
  ) throws(DescriptionError) -> [MachineDescription.UnitModel] {
    guard case .sequence(let sequence) = node else {
      throw failure(node, "`units` is a list; write for example \(Self.example)")
    }
    var units: [MachineDescription.UnitModel] = []
    for item in sequence {
      let unit = try unit(item)
      guard unit != .mock || !units.contains(.mock) else {
        throw failure(item, "a machine has one mock unit; remove this one")
      }
      units.append(unit)
    }
    return units
  }

  private func unit(_ node: Node) throws(DescriptionError) -> MachineDescription.UnitModel {
    var model: MachineDescription.UnitModel?
    for (key, name, value) in try entries(of: node, is: "a unit", example: "model: mock") {
      guard name == "model" else { throw unknown(key, name, known: ["model"]) }
      model = try word(value, of: "model")
    }
    guard let model else {
      throw failure(node, "the unit has no `model`; write for example model: mock")
    }
    return model
  }

  private func entries(
    of node: Node, is what: String, example: String
  ) throws(DescriptionError) -> [(key: Node, name: String, value: Node)] {
    guard case .mapping(let mapping) = node else {
      throw failure(node, "\(what) is a mapping; write for example \(example)")
    }
    var entries: [(key: Node, name: String, value: Node)] = []
    for (key, value) in mapping {
      guard let name = key.string else { throw failure(key, "a key is a word") }
      entries.append((key, name, value))
    }
    return entries
  }

  private func word<Word: RawRepresentable & CaseIterable>(
    _ node: Node, of key: String
  ) throws(DescriptionError) -> Word where Word.RawValue == String {
    if let text = node.string, let word = Word(rawValue: text) { return word }
    let known = Word.allCases.map(\.rawValue).joined(separator: ", ")
    throw failure(
      node, "\(node.string.map { "'\($0)'" } ?? "this") is no `\(key)`: known are \(known)")
  }

  private func unknown(_ node: Node, _ name: String, known: [String]) -> DescriptionError {
    failure(node, "there is no key `\(name)` here: known are \(known.joined(separator: ", "))")
  }

  private func failure(_ node: Node, _ reason: String) -> DescriptionError {
    DescriptionError(file: file, line: node.mark?.line, reason: reason)
  }

  private func failure(at error: YamlError) -> DescriptionError {
    switch error {
    case .scanner(_, let problem, let mark, _), .parser(_, let problem, let mark, _),
      .composer(_, let problem, let mark, _):
      DescriptionError(file: file, line: mark.line, reason: "no YAML: \(problem)")
    case .duplicatedKeysInMapping(let keys, let context):
      DescriptionError(
        file: file, line: context.mark.line,
        reason: "given twice: \(keys.map { "`\($0)`" }.joined(separator: ", ")); remove one of each"
      )
    default:
      DescriptionError(file: file, line: nil, reason: "no YAML: \(error)")
    }
  }
}
