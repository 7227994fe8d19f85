import ArgumentParser

struct MachinesCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "machines",
    abstract: "List the machines that `--machine` knows.",
    discussion: """
      Others come from files in YAML: `units`, a list of units, each with its `model` (mock), and \
      optionally `memlock` (unlimited or client). For example:

        units: [{model: mock}]
        memlock: client
      """)

  func run() {
    let width = MachineCatalogue.entries.map(\.name.count).max() ?? 0
    for entry in MachineCatalogue.entries {
      let padding = String(repeating: " ", count: width - entry.name.count + 2)
      print(entry.name + padding + entry.summary)
    }
  }
}
