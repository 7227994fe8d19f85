internal import CKernelABI
internal import Clients
internal import Hardware
public import IOMMUCore

/// Page requests on their way to the client and its answers on their way back (kernel:
/// iommufd_fault).
public final class FaultQueue: ContextObject, PageRequestHandler {
  /// Groups that the client has not read.
  private var unread: [PageRequestGroup] = []
  /// Groups that the client has read and not answered, by the cookie it got.
  private var unanswered: [UInt32: PageRequestGroup] = [:]
  /// Cookies begin at 1. But the kernel's table marks 0 as taken by an entry of its own, which an
  /// answer to 0 removes while others are out; from then on 0 is a cookie like any other.
  private var canUseZero = false
  fileprivate weak var file: FaultQueueFile?

  static func make(in context: Context) throws(Refusal) -> (
    queue: FaultQueue, file: any MachineFile
  ) {
    let queue = try context.reserve(FaultQueue(in: context))
    do throws(Refusal) {
      try context.failures.step()
    } catch {
      context.abandon(queue)
      throw error
    }
    let file = FaultQueueFile(queue)
    queue.file = file
    return (queue, file)
  }

  public func handle(_ group: PageRequestGroup) {
    unread.append(group)
    file?.update()
  }

  fileprivate var isReadable: Bool { !unread.isEmpty }

  /// Answers what came by an attachment that ends: nobody can resolve it any more.
  func answerAll(from attachment: Attachment) {
    let concerned = { (group: PageRequestGroup) in group.attachment === attachment }
    for group in unread.filter(concerned) { group.respond(.invalid) }
    unread.removeAll(where: concerned)
    for (cookie, group) in unanswered where concerned(group) {
      group.respond(.invalid)
      unanswered[cookie] = nil
    }
    file?.update()
  }

  public override func destroy() {
    for group in unread { group.respond(.invalid) }
    for group in unanswered.values { group.respond(.invalid) }
    unread = []
    unanswered = [:]
  }
}

extension FaultQueue {
  fileprivate func read(
    _ address: UInt64, count: UInt64, caller: any Caller
  ) throws(Refusal) -> Int64 {
    let size = UInt64(MemoryLayout<iommu_hwpt_pgfault>.size)
    guard count % size == 0 else {
      throw Refusal(.ESPIPE, because: "the length is not a multiple of a fault record")
    }
    var done: UInt64 = 0
    while let group = unread.first {
      guard UInt64(group.requests.count) * size <= count - done else {
        if done > 0 { break }
        throw Refusal(.EINVAL, because: "the buffer is too small for the next group of faults")
      }
      do throws(Refusal) {
        let cookie = lowestFreeCookie
        for (index, request) in group.requests.enumerated() {
          try caller.store(
            record(of: request, in: group, cookie: cookie),
            at: address &+ done &+ UInt64(index) * size)
        }
        unanswered[cookie] = group
      } catch {
        if done > 0 { break }
        throw error
      }
      unread.removeFirst()
      done += UInt64(group.requests.count) * size
    }
    file?.update()
    return Int64(done)
  }

  private var lowestFreeCookie: UInt32 {
    var cookie: UInt32 = canUseZero ? 0 : 1
    while unanswered[cookie] != nil { cookie += 1 }
    return cookie
  }

  private func record(
    of request: PageRequest, in group: PageRequestGroup, cookie: UInt32
  ) -> iommu_hwpt_pgfault {
    var record = iommu_hwpt_pgfault()
    if request.pasid != nil { record.flags |= IOMMU_PGFAULT_FLAGS_PASID_VALID }
    if request.isLast { record.flags |= IOMMU_PGFAULT_FLAGS_LAST_PAGE }
    record.dev_id = (group.attachment.holder as? BoundDevice)?.id ?? 0
    record.pasid = request.pasid ?? 0
    record.grpid = request.groupIndex
    record.perm = request.permissions
    record.addr = request.address
    record.cookie = cookie
    return record
  }

  fileprivate func write(
    _ address: UInt64, count: UInt64, caller: any Caller
  ) throws(Refusal) -> Int64 {
    let size = UInt64(MemoryLayout<iommu_hwpt_page_response>.size)
    guard count % size == 0 else {
      throw Refusal(.ESPIPE, because: "the length is not a multiple of a response")
    }
    var done: UInt64 = 0
    while done < count {
      do throws(Refusal) {
        let response = try caller.load(
          iommu_hwpt_page_response.self, at: address &+ done, zero: iommu_hwpt_page_response())
        guard let code = PageResponse(rawValue: response.code), code != .failure else {
          throw Refusal(.EINVAL, because: "the response code is unknown")
        }
        guard let group = unanswered.removeValue(forKey: response.cookie) else {
          if response.cookie == 0, !unanswered.isEmpty { canUseZero = true }
          throw Refusal(.EINVAL, because: "no fault waits for an answer with that cookie")
        }
        group.respond(code)
      } catch {
        if done > 0 { break }
        throw error
      }
      done += size
    }
    return Int64(done)
  }
}

/// The descriptor of a fault queue.
final class FaultQueueFile: MachineFile {
  private let queue: FaultQueue
  private let context: Context
  private var holdsQueue = true
  var readabilityChanged: ((Bool) -> Void)?

  init(_ queue: FaultQueue) {
    self.queue = queue
    context = queue.context
    queue.users += 1
    context.retain()
  }

  var name: String { "[iommufd-pgfault]" }
  var status: FileStatus { FileStatus(mode: 0o600) }
  var readiness: Readiness { .queueBothWays }

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
    guard offset == nil else { throw Refusal(.ESPIPE, because: "the file has no positions") }
    return try queue.write(address, count: count, caller: caller)
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
