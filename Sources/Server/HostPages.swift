import CHost
import Clients
import Glibc

/// Pages of the host that clients map.
@safe final class HostPages: SharedPages {
  let byteCount: Int
  let bytes: UnsafeMutableRawBufferPointer
  let key: FileKey
  private let file: Descriptor
  private let clients: ClientDirectory

  init?(byteCount: Int, clients: ClientDirectory) {
    let made = unsafe host_memfd("viaduct-pages", UInt64(byteCount))
    guard made >= 0 else { return nil }
    // Opened anew: only such an opening counts as a writer, see `isMapped`.
    guard host_memfd_seal_size(made) == 0,
      let file = Descriptor(owning: made).reopened(O_RDWR), let status = file.status
    else { return nil }
    let mapped = unsafe mmap(nil, byteCount, PROT_READ | PROT_WRITE, MAP_SHARED, file.number, 0)
    guard let base = unsafe mapped, unsafe base != MAP_FAILED else { return nil }
    self.byteCount = byteCount
    unsafe bytes = UnsafeMutableRawBufferPointer(start: base, count: byteCount)
    key = FileKey(status)
    self.file = file
    self.clients = clients
    clients.hostPages.insert(key)
  }

  deinit {
    clients.hostPages.remove(key)
    unsafe munmap(bytes.baseAddress, byteCount)
  }

  /// Exact where the kernel counts writers, forked children included. Elsewhere the clients'
  /// mappings and those of their children are searched.
  var isMapped: Bool {
    let sole = host_is_sole_writer(file.number)
    if sole >= 0 { return sole == 0 }
    return clients.members.contains { process, space in
      space.maps(key) || children(of: process).contains { isMapped(byChild: $0) }
    }
  }

  /// An opening to map the pages through. As long as it or a mapping made of it lasts, they are
  /// mapped.
  func open() -> Descriptor? { file.reopened(O_RDWR) }

  private func isMapped(byChild process: Int32) -> Bool {
    guard let memory = try? ProcessMemory(process: process) else { return false }
    return AddressSpace(access: memory).maps(key)
  }

  private func children(of process: Int32) -> [Int32] {
    let text = readWholeFile("/proc/\(process)/task/\(process)/children") ?? []
    return text.split(separator: UInt8(ascii: " ")).compactMap {
      Int32(String(decoding: $0, as: UTF8.self))
    }
  }
}

/// Makes pages for the machine.
final class HostPagesProvider: SharedPagesProvider {
  private let clients: ClientDirectory
  init(clients: ClientDirectory) { self.clients = clients }

  func makeSharedPages(byteCount: Int) -> (any SharedPages)? {
    HostPages(byteCount: byteCount, clients: clients)
  }
}
