import ArgumentParser

/// The command line.
struct ViaductCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "viaduct",
    abstract: "A computer full of IOMMUs in user space, for programs that use iommufd and VFIO.",
    discussion: """
      Start with the program you have:

        viaduct run -- ./my-program --its-own-options

      It sees a /dev/iommu, and the rest of the system as it is. It needs no IOMMU, no root and no \
      kernel module. To see each call it makes, add --trace:

        viaduct run --trace -- ./my-program

      Several programs can use one machine:

        viaduct serve --socket /tmp/viaduct.sock
        viaduct run --connect /tmp/viaduct.sock -- ./first
        viaduct run --connect /tmp/viaduct.sock -- ./second

      When something does not work, `viaduct doctor` tells what this system permits.
      """,
    subcommands: [RunCommand.self, ServeCommand.self, DoctorCommand.self, MachinesCommand.self])
}
