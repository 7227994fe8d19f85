import ArgumentParser
import CHost
import Glibc
import Server

struct RunCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "run",
    abstract: "Run a program on a machine.",
    discussion: """
      The program is started with libviaduct.so in LD_PRELOAD, which forwards what it does with \
      the machine's files to this process. The exit status is the program's; 127 when it is not \
      found, 126 when it cannot be run or served. What it starts in turn is served too, until it \
      ends itself.

      Statically linked programs, and programs that call the kernel without the C library (most of \
      Go), cannot be served this way.
      """)

  @Option(
    help: ArgumentHelp(
      "Use the machine of the `viaduct serve` that listens here.", valueName: "path"))
  var connect: String?

  @OptionGroup var options: ServingOptions

  @Argument(
    parsing: .postTerminator,
    help: ArgumentHelp("The program and its arguments, after `--`.", valueName: "command"))
  var command: [String] = []

  func validate() throws {
    if command.isEmpty {
      throw ValidationError(
        "Which program? It comes after `--`: viaduct run -- ./my-program")
    }
    if connect != nil && options.areChosen {
      throw ValidationError(
        "With --connect the machine is the server's: give its options to `viaduct serve`.")
    }
  }

  func run() throws {
    let program: Program
    do throws(ProgramError) {
      program = try Program(command)
    } catch {
      complain(error.description)
      throw ExitCode(error.exitStatus)
    }
    if let warning = program.warning { complain(warning) }

    host_take_signals()
    var server: Server?
    let socketPath: String
    if let connect {
      socketPath = absolutePath(connect)
      try checkServer(at: socketPath)
    } else {
      let made = try options.makeServer(at: nil)
      try made.start()
      server = made
      socketPath = made.socketPath
    }
    let status: Int32
    do throws(ProgramError) {
      let process = try program.start(socketPath: socketPath)
      status = host_supervise(process)
    } catch {
      server?.stop()
      complain(error.description)
      throw ExitCode(error.exitStatus)
    }
    server?.stop()

    var code: Int32 = 0
    if unsafe host_was_killed(status, &code) { host_end_by(code) }
    throw ExitCode(code)
  }

  private func checkServer(at path: String) throws {
    let connection = unsafe host_connect(path)
    guard connection >= 0 else {
      complain(CommandError("no server answers at \(path)", errno: -connection).description)
      throw ExitCode(126)
    }
    close(connection)
  }
}
