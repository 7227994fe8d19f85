import ArgumentParser

struct MachinesCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "machines",
    abstract: "List the machines that `--machine` knows.")

  func run() {
    let width = MachineCatalogue.entries.map(\.name.count).max() ?? 0
    for entry in MachineCatalogue.entries {
      let padding = String(repeating: " ", count: width - entry.name.count + 2)
      print(entry.name + padding + entry.summary)
    }
  }
}
