internal import CKernelABI
internal import Clients

/// Events of a virtual IOMMU on their way to the client (kernel: iommufd_veventq).
///
/// A full queue keeps its oldest events; one mark at its end stands for those that were lost, and
/// the numbers of the others show how many.
public final class EventQueue: ContextObject {
  private struct Event {
    var sequence: UInt32
    var payload: [UInt8]
  }

  let type: UInt32
  private let virtualIOMMU: VirtualIOMMUObject
  private let depth: Int
  private var events: [Event] = []
  /// Set while events were lost behind the last one that is queued.
  private var lostSequence: UInt32?
  private var nextSequence: UInt32 = 0
  fileprivate weak var file: EventQueueFile?

  private init(type: UInt32, depth: Int, of virtualIOMMU: VirtualIOMMUObject) {
    self.type = type
    self.depth = depth
    self.virtualIOMMU = virtualIOMMU
    super.init(in: virtualIOMMU.context)
  }

  /// Makes a queue that belongs to the virtual IOMMU; reserved only.
  static func make(
    type: UInt32, depth: Int, of virtualIOMMU: VirtualIOMMUObject
  ) throws(Refusal) -> (queue: EventQueue, file: any MachineFile) {
    let context = virtualIOMMU.context
    let queue = try context.reserve(EventQueue(type: type, depth: depth, of: virtualIOMMU))
    do throws(Refusal) {
      try context.failures.step()
    } catch {
      context.abandon(queue)
      throw error
    }
    virtualIOMMU.users += 1
    virtualIOMMU.eventQueues.append(queue)
    let file = EventQueueFile(queue)
    queue.file = file
    return (queue, file)
  }

  public override func destroy() {
    events = []
    lostSequence = nil
    virtualIOMMU.eventQueues.removeAll { $0 === self }
    virtualIOMMU.users -= 1
  }

  fileprivate var isReadable: Bool { !events.isEmpty || lostSequence != nil }

  /// Queues an event, or marks it as lost. Whatever comes moves a mark to the end.
  func append(_ payload: [UInt8]) {
    if events.count == depth {
      lostSequence = nextSequence
    } else {
      lostSequence = nil
      events.append(Event(sequence: nextSequence, payload: payload))
    }
    nextSequence = (nextSequence + 1) & 0x7fff_ffff
    file?.update()
  }

  fileprivate func read(
    _ address: UInt64, count: UInt64, caller: any Caller
  ) throws(Refusal) -> Int64 {
    let headerSize = UInt64(MemoryLayout<iommufd_vevent_header>.size)
    guard count >= headerSize else {
      throw Refusal(.EINVAL, because: "the buffer is smaller than an event's header")
    }
    defer { file?.update() }
    var done: UInt64 = 0
    while let event = events.first, headerSize <= count - done {
      let size = headerSize + UInt64(event.payload.count)
      do throws(Refusal) {
        guard size <= count - done else {
          throw Refusal(.EINVAL, because: "the buffer is too small for the next event")
        }
        try caller.store(
          iommufd_vevent_header(flags: 0, sequence: event.sequence), at: address &+ done)
        try caller.store(event.payload, at: address &+ done &+ headerSize)
      } catch {
        if done > 0 { return Int64(done) }
        throw error
      }
      events.removeFirst()
      done += size
    }
    if events.isEmpty, let lost = lostSequence, headerSize <= count - done {
      do throws(Refusal) {
        try caller.store(
          iommufd_vevent_header(flags: IOMMU_VEVENTQ_FLAG_LOST_EVENTS, sequence: lost),
          at: address &+ done)
      } catch {
        if done > 0 { return Int64(done) }
        throw error
      }
      lostSequence = nil
      done += headerSize
    }
    return Int64(done)
  }
}

/// The descriptor of an event queue.
final class EventQueueFile: MachineFile {
  private let queue: EventQueue
  private let context: Context
  private var holdsQueue = true
  var readabilityChanged: ((Bool) -> Void)?

  init(_ queue: EventQueue) {
    self.queue = queue
    context = queue.context
    queue.users += 1
    context.retain()
  }

  var name: String { "[iommufd-viommu-event]" }
  var status: FileStatus { FileStatus(mode: 0o600) }
  var readiness: Readiness { .queueOut }

  fileprivate func update() { readabilityChanged?(queue.isReadable) }

  func read(
    _ address: UInt64, count: UInt64, offset: UInt64?, caller: any Caller
  ) throws(Refusal) -> Int64 {
    guard offset == nil else { throw Refusal(.ESPIPE, because: "the file has no positions") }
    return try queue.read(address, count: count, caller: caller)
  }

  func write(
    _ address: UInt64, count: UInt64, offset: UInt64?, caller: any Caller
  ) throws(Refusal) -> Int64 {
    throw Refusal(
      offset == nil ? .EINVAL : .ESPIPE, because: "an event queue cannot be written")
  }

  func installationFailed() {
    queue.users -= 1
    context.destroyUnused(queue)
    holdsQueue = false
  }

  func release() {
    if holdsQueue { queue.users -= 1 }
    context.release()
  }
}
