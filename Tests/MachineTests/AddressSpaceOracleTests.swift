import TestSupport
import Testing

@Suite("Address spaces against an oracle")
struct AddressSpaceOracleTests {
  @Test("the machine answers as the rules say", arguments: 1...16 as ClosedRange<UInt64>)
  func agreement(seed: UInt64) throws {
    let run = try OracleRun(seed: seed)
    for step in 1...2000 {
      let answers = run.step()
      guard answers.machine == answers.oracle else {
        Issue.record(
          "seed \(seed) step \(step): \(run.command): \(answers.machine), not \(answers.oracle)")
        return
      }
      var difference = step % 100 == 0 ? run.differenceInPins() : nil
      if step % 500 == 0, difference == nil {
        difference = run.differenceInReferences() ?? run.differenceInTranslations()
      }
      if let difference {
        Issue.record("seed \(seed) step \(step): \(difference)")
        return
      }
    }

    // Devices first: they are users of tables, which are users of spaces.
    let oracle = run.oracle
    for id in oracle.devices.map(\.object) + oracle.tables.map(\.id) + oracle.spaces.map(\.id) {
      let answers = run.destroy(id)
      #expect(answers.machine == answers.oracle, "seed \(seed): DESTROY \(id) at the end")
    }
    #expect(run.client.leftovers == ["contexts": 1], "seed \(seed)")
    #expect(run.client.process.pinnedPages == 0, "seed \(seed)")
    run.client.close()
    #expect(run.client.leftovers == [:], "seed \(seed)")
  }

  @Test("a context closed in the middle of a run leaves nothing", arguments: [101, 102, 103, 104])
  func closing(seed: UInt64) throws {
    let run = try OracleRun(seed: seed)
    for _ in 1...500 { _ = run.step() }
    run.client.close()
    #expect(run.client.leftovers == [:], "seed \(seed)")
    #expect(run.client.process.pinnedPages == 0, "seed \(seed)")
  }
}
