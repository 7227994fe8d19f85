import ArgumentParser

// `--trace` alone means standard error; the parser wants a value with every option.
var arguments = Array(CommandLine.arguments.dropFirst())
let end = arguments.firstIndex(of: "--") ?? arguments.endIndex
for index in arguments[..<end].indices where arguments[index] == "--trace" {
  arguments[index] = "--trace=-"
}
ViaductCommand.main(arguments)
