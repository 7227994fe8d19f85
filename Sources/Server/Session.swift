import CHost
import Clients
import Hardware

/// One client process: its channel, its memory, and the thread that answers it.
@safe final class Session {
  let number: UInt64
  let identity: ProcessIdentity
  /// The process's number as it sees itself.
  let nameInClient: Int32
  let processDescriptor: Descriptor
  let channel: Channel
  let space: AddressSpace
  /// The machine on which the process opens files.
  let realm: Realm
  private let clients: ClientDirectory
  private(set) var processes: [(realm: Realm, process: MachineProcess)] = []
  /// Descriptors that threads sent for the request they are going to repeat.
  var provided: [Int32: ProvidedDescriptors] = [:]
  /// What a thread was promised last and may still decline.
  var unsettled: [Int32: UInt64] = [:]

  private let stop: UnsafeMutablePointer<UInt32>
  private var thread: ServerThread?
  private var pinned: Range<UInt64> = 0..<0

  init(
    number: UInt64, identity: ProcessIdentity, nameInClient: Int32, processDescriptor: Descriptor,
    channel: Channel, space: AddressSpace, realm: Realm, clients: ClientDirectory
  ) {
    self.number = number
    self.identity = identity
    self.nameInClient = nameInClient
    self.processDescriptor = processDescriptor
    self.channel = channel
    self.space = space
    self.realm = realm
    self.clients = clients
    unsafe stop = .allocate(capacity: 1)
    unsafe stop.initialize(to: 0)
  }

  deinit { unsafe stop.deallocate() }

  /// The process as the machine of `realm` knows it.
  func process(in realm: Realm) -> MachineProcess {
    if let present = processes.first(where: { $0.realm === realm }) { return present.process }
    let made = MachineProcess(identity, space: space, realm: realm, clients: clients)
    processes.append((realm, made))
    return made
  }

  /// The host's number of a process that calls on this channel: the client, or a vfork child of it.
  func hostNumber(of process: Int32) -> Int32 {
    process == nameInClient ? identity.process : process
  }

  /// Tells the client which of its private memory is pinned.
  func publishPinnedMemory() {
    var low = UInt64.max
    var high: UInt64 = 0
    for (_, process) in processes {
      guard let bounds = process.privateMemory.pinnedBounds else { continue }
      low = min(low, bounds.first << pageShift)
      high = max(high, bounds.end << pageShift)
    }
    // With pages of replaced memory among them the bounds say nothing about addresses.
    if high > 1 << Replacements.generationShift { (low, high) = (0, .max) }
    let range = low < high ? low..<high : 0..<0
    guard range != pinned else { return }
    pinned = range
    channel.setPinned(range)
  }

  /// Starts the thread that hands slots to `serve`. False when there is no thread left.
  func start(_ serve: @escaping (_ slot: UInt32) -> Void) -> Bool {
    let (channel, stop) = (channel, unsafe stop)
    thread = ServerThread {
      var patience = Patience()
      while unsafe !host_flag_is_set(stop) {
        var pending = channel.take(spinning: patience.nanoseconds)
        guard pending != 0 else {
          patience.willSleep()
          unsafe host_channel_sleep(channel.pages, stop)
          patience.hasWoken()
          continue
        }
        while pending != 0 {
          serve(UInt32(pending.trailingZeroBitCount))
          pending &= pending - 1
        }
        patience.hasServed()
      }
    }
    return thread != nil
  }

  /// Ends the thread; the lock must not be held, since the thread may be waiting for it.
  func stopThread() {
    unsafe host_flag_set(stop)
    thread?.join { channel.ring() }
    thread = nil
  }
}

/// How long to look out for the next request before sleeping: long while that pays.
private struct Patience {
  private static let longest: UInt64 = host_processor_count() > 1 ? 50_000 : 0

  private var misses: UInt64 = 0
  private var isFirstAfterSleep = false
  private var lastServed: UInt64 = 0

  var nanoseconds: UInt64 { isFirstAfterSleep ? 0 : Self.longest >> min(misses, 6) }

  mutating func hasServed() {
    if !isFirstAfterSleep { misses = 0 }
    isFirstAfterSleep = false
    lastServed = misses > 0 ? host_nanoseconds() : 0
  }

  mutating func willSleep() { misses += 1 }

  /// A request that came soon enough to have been worth the wait brings the patience back.
  mutating func hasWoken() {
    isFirstAfterSleep = true
    if lastServed > 0, host_nanoseconds() - lastServed < Self.longest { misses = 0 }
  }
}

/// Descriptors that one thread of a client sends. Nil stands for a number that is not open.
struct ProvidedDescriptors {
  private static let limit = 16
  private let process: Int32
  private var expected: Int32?
  private var entries: [Int32: Descriptor?] = [:]

  init(from process: Int32) { self.process = process }

  subscript(number: Int32) -> Descriptor?? { entries[number] }

  /// False when one request has asked for too many.
  mutating func expect(_ number: Int32) -> Bool {
    expected = number
    return entries.count < Self.limit
  }

  func expects(_ number: Int32, from process: Int32) -> Bool {
    expected == number && process == self.process
  }

  mutating func insert(_ descriptor: Descriptor?, for number: Int32) -> Bool {
    expected = nil
    entries[number] = .some(descriptor)
    return true
  }
}
