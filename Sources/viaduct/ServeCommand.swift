import ArgumentParser
import CHost
import Glibc
import Server

struct ServeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "serve",
    abstract: "Keep a machine up for clients that come and go.",
    discussion: """
      Clients are started with `viaduct run --connect PATH -- COMMAND`. The machine lives until \
      this command gets SIGINT or SIGTERM. A socket that an ended server left behind is replaced; \
      one in use is not.
      """)

  @Option(help: ArgumentHelp("Where to listen.", valueName: "path"))
  var socket: String?

  @OptionGroup var options: ServingOptions

  func run() throws {
    host_take_signals()
    let server = try options.makeServer(at: socket.map(absolutePath))
    try server.start()
    writeLine("viaduct: listening at \(server.socketPath)", to: STDOUT_FILENO)
    writeLine(
      "viaduct: try: viaduct run --connect \(server.socketPath) -- COMMAND", to: STDOUT_FILENO)
    _ = host_wait_for_end()
    server.stop()
  }
}
