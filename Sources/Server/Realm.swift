import Clients
import Hardware

/// A machine, and the sources of pages it knows: one for each inode.
final class Realm {
  private struct WeakSource {
    weak var source: MemorySource?
  }

  let machine: any ServedMachine
  private let clients: ClientDirectory
  private var sources: [FileKey: WeakSource] = [:]
  private var pruneAtCount = 64

  init(machine: any ServedMachine, clients: ClientDirectory) {
    self.machine = machine
    self.clients = clients
  }

  /// The source of a file's pages. A new one gets the opening of the file that `open` finds, if
  /// any.
  func source(of key: FileKey, opening open: () -> HostMemoryFile?) -> MemorySource {
    if let present = sources[key]?.source { return present }
    prune()
    let memory = FileMemory(key, clients: clients)
    memory.file = open()
    let made = MemorySource(backing: memory, in: machine.physicalMemory)
    sources[key] = WeakSource(source: made)
    return made
  }

  /// The source of a file that the host has open.
  func source(of file: HostMemoryFile) -> MemorySource {
    let source = source(of: file.key) { file }
    if let memory = source.backing as? FileMemory, memory.file == nil { memory.file = file }
    return source
  }

  /// The host's opening of a file, if some source has it.
  func openFile(_ key: FileKey) -> HostMemoryFile? {
    (sources[key]?.source?.backing as? FileMemory)?.file
  }

  private func prune() {
    guard sources.count >= pruneAtCount else { return }
    sources = sources.filter { $0.value.source != nil }
    pruneAtCount = max(64, 2 * sources.count)
  }
}
