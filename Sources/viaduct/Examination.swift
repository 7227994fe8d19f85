import CHost
import Glibc

/// One thing that was looked at.
struct Finding {
  enum State: String {
    case ok
    case limited
    case missing
  }

  let subject: String
  let state: State
  let detail: String
  var advice: String?
  /// Without it no program can be run.
  var isRequired = false
}

/// What `viaduct doctor` looks at.
enum Examination {
  static func run() -> [Finding] {
    var probe = host_probe()
    unsafe host_probe(&probe)
    return [
      kernel(), library(), memory(probe), descriptors(probe), mappings(probe), peers(probe), yama(),
      seccomp(), lockLimit(), hugePages(), sharedMemory(),
    ]
  }

  private static func kernel() -> Finding {
    let release = text("/proc/sys/kernel/osrelease") ?? "unknown"
    return Finding(subject: "kernel", state: .ok, detail: release)
  }

  private static func library() -> Finding {
    do throws(ProgramError) {
      return Finding(subject: "library", state: .ok, detail: try Program.findLibrary())
    } catch {
      return Finding(
        subject: "library", state: .missing, detail: error.description,
        advice: "Install or build libviaduct.so beside the viaduct program.", isRequired: true)
    }
  }

  private static func memory(_ probe: host_probe) -> Finding {
    if probe.reads_memory == 1 && probe.writes_memory == 1 {
      return Finding(
        subject: "client memory", state: .ok, detail: "reached through /proc/PID/mem")
    }
    return Finding(
      subject: "client memory", state: .limited,
      detail:
        "/proc/PID/mem is refused\(reason(probe.reads_memory)); a thread in the client helps out",
      advice: "Slower. In a container, permit ptrace (for example --cap-add SYS_PTRACE).")
  }

  private static func descriptors(_ probe: host_probe) -> Finding {
    if probe.takes_descriptors == 1 {
      return Finding(subject: "passed descriptors", state: .ok, detail: "taken by pidfd_getfd")
    }
    return Finding(
      subject: "passed descriptors", state: .limited,
      detail: "pidfd_getfd is refused\(reason(probe.takes_descriptors)); clients send them",
      advice: "Slower. In a container, permit ptrace (for example --cap-add SYS_PTRACE).")
  }

  private static func mappings(_ probe: host_probe) -> Finding {
    if probe.queries_mappings == 1 {
      return Finding(subject: "mapping queries", state: .ok, detail: "answered by the kernel")
    }
    return Finding(
      subject: "mapping queries", state: .limited,
      detail: "this kernel lacks them; /proc/PID/maps is read as text",
      advice: "Slower. Linux 6.11 and later have them.")
  }

  private static func peers(_ probe: host_probe) -> Finding {
    probe.knows_peers == 1
      ? Finding(
        subject: "peer descriptors", state: .ok, detail: "the kernel names clients by descriptor")
      : Finding(
        subject: "peer descriptors", state: .limited,
        detail: "clients are known by number only (Linux 6.5 and later do better)")
  }

  private static func yama() -> Finding {
    let subject = "Yama"
    switch text("/proc/sys/kernel/yama/ptrace_scope") {
    case nil: return Finding(subject: subject, state: .ok, detail: "not in use")
    case "0": return Finding(subject: subject, state: .ok, detail: "ptrace_scope is 0")
    case "1":
      return Finding(
        subject: subject, state: .ok,
        detail: "ptrace_scope is 1: a host may reach its children, others name it themselves")
    case let scope?:
      return Finding(
        subject: subject, state: .limited, detail: "ptrace_scope is \(scope)",
        advice: "sysctl kernel.yama.ptrace_scope=1 lets the host reach its clients directly.")
    }
  }

  private static func seccomp() -> Finding {
    let mode = field("Seccomp", of: "/proc/self/status") ?? "0"
    return mode == "0"
      ? Finding(subject: "seccomp", state: .ok, detail: "no filter")
      : Finding(
        subject: "seccomp", state: .ok, detail: "a filter is active (mode \(mode))",
        advice: "If something above is limited, the filter may be why.")
  }

  private static func lockLimit() -> Finding {
    var bytes: UInt64 = 0
    guard unsafe host_lock_limit(0, &bytes) == 0 else {
      return Finding(subject: "memlock limit", state: .limited, detail: "unknown")
    }
    let amount = bytes == .max ? "unlimited" : "\(bytes / 1024) KiB"
    return Finding(
      subject: "memlock limit", state: .ok,
      detail: "\(amount); counts only with --memlock client")
  }

  private static func hugePages() -> Finding {
    let total = field("HugePages_Total", of: "/proc/meminfo") ?? "0"
    let free = field("HugePages_Free", of: "/proc/meminfo") ?? "0"
    return total == "0"
      ? Finding(
        subject: "huge pages", state: .limited, detail: "none reserved",
        advice: "Only programs that ask for them need any: sysctl vm.nr_hugepages=64")
      : Finding(subject: "huge pages", state: .ok, detail: "\(free) of \(total) free")
  }

  private static func sharedMemory() -> Finding {
    unsafe host_is_memory_directory("/dev/shm")
      ? Finding(subject: "/dev/shm", state: .ok, detail: "a writable tmpfs")
      : Finding(
        subject: "/dev/shm", state: .limited, detail: "not a writable tmpfs",
        advice: "Programs that share memory by shm_open need it; memfds work without.")
  }

  private static func reason(_ result: Int32) -> String {
    result < 0 ? " (\(unsafe String(cString: strerror(-result))))" : ""
  }

  private static func text(_ path: String) -> String? {
    let bytes = FileBytes(path).prefix(256)
    guard !bytes.isEmpty else { return nil }
    return String(decoding: bytes.prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self)
  }

  /// The first word after `name:`.
  private static func field(_ name: String, of path: String) -> String? {
    let lines = String(decoding: FileBytes(path).prefix(8192), as: UTF8.self).split(separator: "\n")
    guard let line = lines.first(where: { $0.hasPrefix(name + ":") }) else { return nil }
    return line.dropFirst(name.count + 1).split { $0 == " " || $0 == "\t" }.first.map(String.init)
  }
}
