import CHost
import Glibc
import Hardware

/// The text of /proc/PID/status with the memory that the machine has pinned and locked for the
/// process.
func statusText(of path: String, pinnedPages: Int, lockedPages: Int) -> [UInt8]? {
  guard let text = readWholeFile(path) else { return nil }
  var result: [UInt8] = []
  result.reserveCapacity(text.count + 16)
  for line in text.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false) {
    if !result.isEmpty { result.append(UInt8(ascii: "\n")) }
    if line.starts(with: "VmPin:".utf8) {
      result += adding(pinnedPages, to: line, named: "VmPin")
    } else if line.starts(with: "VmLck:".utf8) {
      result += adding(lockedPages, to: line, named: "VmLck")
    } else {
      result += line
    }
  }
  return result
}

private func adding(_ pages: Int, to line: ArraySlice<UInt8>, named name: String) -> [UInt8] {
  let digits = line.filter { $0 >= UInt8(ascii: "0") && $0 <= UInt8(ascii: "9") }
  let present = Int(String(decoding: digits, as: UTF8.self)) ?? 0
  let kilobytes = String(present + pages * Int(pageBytes) / 1024)
  let padding = String(repeating: " ", count: max(0, 8 - kilobytes.count))
  return Array("\(name):\t\(padding)\(kilobytes) kB".utf8)
}

/// An unnamed file with this text, open for reading at its beginning.
func makeTextFile(_ text: [UInt8]) -> Descriptor? {
  let made = unsafe host_memfd("viaduct-text", 0)
  guard made >= 0 else { return nil }
  let file = Descriptor(owning: made)
  let written = unsafe text.withUnsafeBytes { unsafe write(made, $0.baseAddress, $0.count) }
  return written == text.count ? file.reopened(O_RDONLY) : nil
}
