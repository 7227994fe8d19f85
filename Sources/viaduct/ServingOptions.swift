import ArgumentParser
import CHost
import Clients
import Machine
import Server

extension ServerConfiguration.MemoryAccess: ExpressibleByArgument {}
extension ServerConfiguration.DescriptorAccess: ExpressibleByArgument {}
extension ServerConfiguration.LockedMemory: ExpressibleByArgument {}

/// What `run` and `serve` let one choose about the machine and how it is served.
struct ServingOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "The machine to serve: one that `viaduct machines` lists, or a file that describes one.",
      valueName: "name|file"))
  var machine = "mock"

  @Flag(
    name: .customLong("private"),
    help: "Give each client process a machine of its own for what it opens.")
  var hasPrivateMachines = false

  @Option(
    help: ArgumentHelp(
      """
      Whether pinned memory counts against the client's RLIMIT_MEMLOCK or nothing limits it. \
      (default: as the machine is described, else unlimited)
      """,
      valueName: "unlimited|client"))
  var memlock: ServerConfiguration.LockedMemory?

  @Option(
    help: ArgumentHelp(
      "How to reach the client's memory: through /proc if permitted, or by a thread in the client.",
      valueName: "auto|helper"))
  var memory = ServerConfiguration.MemoryAccess.automatic

  @Option(
    help: ArgumentHelp(
      "How to get descriptors that a client passes: take them if permitted, or ask for them.",
      valueName: "auto|provide"))
  var descriptors = ServerConfiguration.DescriptorAccess.automatic

  @Option(
    help: ArgumentHelp(
      "Let the n-th step that can fail do so, in the first thread that makes a call.",
      valueName: "n"))
  var failNth: UInt32?

  @Option(
    help: ArgumentHelp(
      "Write each call down: to standard error, or, as --trace=FILE, to a file.", valueName: "file")
  )
  var trace: String?

  @Flag(help: "Write the trace as JSON, one object a line.")
  var json = false

  /// Whether anything differs from what `run` does by itself.
  var areChosen: Bool {
    let plain = ServerConfiguration()
    return machine != "mock" || hasPrivateMachines || memlock != nil
      || memory != plain.memory || descriptors != plain.descriptors || failNth != nil
      || trace != nil
  }

  func validate() throws {
    if !MachineCatalogue.isFile(machine) {
      do throws(CommandError) {
        _ = try MachineCatalogue.description(of: machine)
      } catch {
        throw ValidationError(error.description)
      }
    }
    if failNth == 0 { throw ValidationError("--fail-nth counts from 1.") }
    if json && trace == nil { throw ValidationError("--json is about the trace: add --trace.") }
  }

  /// A server as asked for, not yet started.
  func makeServer(at socketPath: String?) throws -> Server {
    let machine: MachineDescription
    do throws(CommandError) {
      machine = try MachineCatalogue.description(of: self.machine)
    } catch {
      complain(error.description)
      throw ExitCode(64)
    }
    host_use_one_heap()
    var configuration = ServerConfiguration()
    configuration.socketPath = socketPath
    configuration.hasPrivateMachines = hasPrivateMachines
    configuration.lockedMemory =
      memlock ?? (machine.lockedMemory == .client ? .client : .unlimited)
    configuration.memory = memory
    configuration.descriptors = descriptors
    configuration.failNth = failNth
    configuration.observer = try trace.map { try CallLog(path: $0, isJSON: json) }
    return try Server(configuration, makeMachine: { Machine(machine, sharedPages: $0) })
  }
}
