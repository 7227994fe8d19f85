import Clients
import Glibc

/// The directories, plain files and links that a machine shows, kept on disk under the server's own
/// directory. Clients are redirected there.
final class ServedTree {
  let root: String
  private var known: Set<String> = ["/"]

  init(below directory: String) { root = directory + "/tree" }

  /// Writes the entries. An absolute link leads to the same place inside the tree.
  func write(_ entries: [TreeEntry]) throws(SystemError) {
    guard unsafe mkdir(root, 0o755) == 0 || errno == EEXIST else {
      throw SystemError(number: errno)
    }
    for entry in entries {
      try makeParents(of: entry.path)
      known.insert(entry.path)
      let place = root + entry.path
      switch entry.kind {
      case .directory:
        try make { unsafe mkdir(place, 0o755) }
      case .file(let contents):
        let file = try Descriptor(opening: place, O_WRONLY | O_CREAT | O_TRUNC)
        fchmod(file.number, 0o644)
        let bytes = Array(contents.utf8)
        let count = unsafe bytes.withUnsafeBytes {
          unsafe Glibc.write(file.number, $0.baseAddress, $0.count)
        }
        guard count == bytes.count else { throw SystemError(number: errno) }
      case .link(let target):
        try make { unsafe symlink(Self.relative(target, from: entry.path), place) }
      }
    }
  }

  /// Whether a path leads to something in the tree, links followed or, as the last component, not.
  func contains(_ path: String) -> Bool {
    if known.contains(path) { return true }
    guard let parent = realPath(ofParentOf: path) else { return false }
    return known.contains(parent)
  }

  /// The path with the links before its last component resolved; nil when they lead nowhere.
  func realPath(ofParentOf path: String) -> String? {
    guard let slash = path.lastIndex(of: "/"), slash > path.startIndex else { return nil }
    guard let resolved = unsafe realpath(root + path[..<slash], nil) else { return nil }
    defer { unsafe free(resolved) }
    let directory = unsafe String(cString: resolved)
    guard directory == root || directory.hasPrefix(root + "/") else { return nil }
    return String(directory.dropFirst(root.count)) + String(path[slash...])
  }

  private func makeParents(of path: String) throws(SystemError) {
    var end = path.startIndex
    while let slash = path[path.index(after: end)...].firstIndex(of: "/") {
      let parent = String(path[..<slash])
      if known.insert(parent).inserted { try make { unsafe mkdir(root + parent, 0o755) } }
      end = slash
    }
  }

  private func make(_ body: () -> Int32) throws(SystemError) {
    guard body() == 0 || errno == EEXIST else { throw SystemError(number: errno) }
  }

  private static func relative(_ target: String, from path: String) -> String {
    guard target.hasPrefix("/") else { return target }
    let depth = path.split(separator: "/").count - 1
    return String(repeating: "../", count: depth) + target.dropFirst()
  }
}

/// Removes a directory and everything in it, without following links.
func removeDirectory(_ path: String) {
  guard let directory = unsafe opendir(path) else { return }
  while let entry = unsafe readdir(directory) {
    let name = unsafe withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
      unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
    }
    if name == "." || name == ".." { continue }
    let place = path + "/" + name
    if unsafe unlink(place) != 0, errno == EISDIR || errno == EPERM { removeDirectory(place) }
  }
  unsafe closedir(directory)
  unsafe rmdir(path)
}
