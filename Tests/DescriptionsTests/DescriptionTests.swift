import Descriptions
import Machine
import Testing

@Suite("Machine descriptions")
struct DescriptionTests {
  @Test(
    "good descriptions",
    arguments: [
      ("units: [{model: mock}]", MachineDescription.mock),
      ("units: []", .bare),
      (
        "# a lab\nmemlock: client\nunits:\n  - model: mock\n",
        MachineDescription(units: [.mock], lockedMemory: .client)
      ),
      ("{units: [], memlock: unlimited}", .bare),
    ])
  func accepted(text: String, expected: MachineDescription) throws {
    #expect(try MachineDescription(yaml: text, file: "lab.yaml") == expected)
  }

  @Test(
    "what is wrong, where, and what to write instead",
    arguments: [
      ("", "lab.yaml: the file is empty; write for example units: [{model: mock}]"),
      ("mock", "lab.yaml:1: a machine is a mapping; write for example units: [{model: mock}]"),
      (
        "memlock: client",
        "lab.yaml:1: the machine has no `units`; write for example units: [{model: mock}]"
      ),
      ("units: mock", "lab.yaml:1: `units` is a list; write for example units: [{model: mock}]"),
      ("units:\n  - mock", "lab.yaml:2: a unit is a mapping; write for example model: mock"),
      ("units:\n  - {}", "lab.yaml:2: the unit has no `model`; write for example model: mock"),
      (
        "units:\n  - model: mock\n  - model: vtd", "lab.yaml:3: 'vtd' is no `model`: known are mock"
      ),
      ("units:\n  - model: [mock]", "lab.yaml:2: this is no `model`: known are mock"),
      (
        "units:\n  - model: mock\n  - model: mock",
        "lab.yaml:3: a machine has one mock unit; remove this one"
      ),
      (
        "units:\n  - model: mock\n    address: 3",
        "lab.yaml:3: there is no key `address` here: known are model"
      ),
      (
        "units: []\ndevices: []",
        "lab.yaml:2: there is no key `devices` here: known are units, memlock"
      ),
      (
        "units: []\n\nmemlock: all",
        "lab.yaml:3: 'all' is no `memlock`: known are unlimited, client"
      ),
      ("units: []\nunits: []", "lab.yaml:1: given twice: `units`; remove one of each"),
    ])
  func refused(text: String, message: String) {
    let error = #expect(throws: DescriptionError.self) {
      try MachineDescription(yaml: text, file: "lab.yaml")
    }
    #expect(error?.description == message)
  }

  @Test(
    "what is no YAML is refused with its line",
    arguments: ["units: [\n", "a: b\n\t- c", "units: }"])
  func malformed(text: String) throws {
    let error = try #require(
      #expect(throws: DescriptionError.self) {
        try MachineDescription(yaml: text, file: "lab.yaml")
      })
    #expect(error.line != nil)
    #expect(error.reason.hasPrefix("no YAML: "))
  }
}
