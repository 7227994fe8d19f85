import ArgumentParser
import Glibc

struct DoctorCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "doctor",
    abstract: "Tell what this system permits, and what to change.",
    discussion: """
      Each line is ok, limited (it works another way, or less) or missing. The exit status is 0 \
      when programs can be run.
      """)

  @Flag(help: "Write the findings as one JSON object.")
  var json = false

  func run() throws {
    let findings = Examination.run()
    if json {
      print(Self.json(findings))
    } else {
      for finding in findings { print(Self.line(finding)) }
    }
    if findings.contains(where: { $0.state == .missing && $0.isRequired }) { throw ExitCode(1) }
  }

  private static func line(_ finding: Finding) -> String {
    let colour =
      switch finding.state {
      case .ok: "32"
      case .limited: "33"
      case .missing: "31"
      }
    let state = finding.state.rawValue
    let padded = state + String(repeating: " ", count: 8 - state.count)
    let advice = finding.advice.map { "\n        " + $0 } ?? ""
    return Terminal.paint(padded, colour, on: STDOUT_FILENO)
      + "\(finding.subject): \(finding.detail)\(advice)"
  }

  private static func json(_ findings: [Finding]) -> String {
    let entries = findings.map { finding in
      var fields = [
        ("subject", finding.subject), ("state", finding.state.rawValue), ("detail", finding.detail),
      ]
      if let advice = finding.advice { fields.append(("advice", advice)) }
      return "{" + fields.map { "\(quoted($0)):\(quoted($1))" }.joined(separator: ",") + "}"
    }
    let isRunnable = !findings.contains { $0.state == .missing && $0.isRequired }
    return "{\"runnable\":\(isRunnable),\"findings\":[\(entries.joined(separator: ","))]}"
  }

  private static func quoted(_ text: String) -> String {
    var result = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"", "\\": result += "\\" + String(scalar)
      case "\n": result += "\\n"
      case _ where scalar.value < 0x20: result += " "
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result + "\""
  }
}
