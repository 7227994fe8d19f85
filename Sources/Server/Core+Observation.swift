import CChannel
import CHost
import Clients

/// What is remembered of a call from its beginning, for the observer.
final class Observation {
  let operation: CallRecord.Operation
  let start = host_nanoseconds()
  let process: Int32
  var windowBefore: [UInt8] = []

  init(_ operation: CallRecord.Operation, process: Int32) {
    self.operation = operation
    self.process = process
  }
}

extension Core {
  func beginObservation(_ request: host_request, of session: Session) -> Observation? {
    guard configuration.observer != nil else { return nil }
    let operation: CallRecord.Operation? =
      switch viaduct_operation(request.operation) {
      case VIADUCT_OPEN: .open
      case VIADUCT_STAT: .status
      case VIADUCT_READLINK: .readLink
      case VIADUCT_IOCTL: .ioctl
      case VIADUCT_READ: .read
      case VIADUCT_WRITE: .write
      case VIADUCT_MMAP: .map
      case VIADUCT_CLOSED: .closed
      case VIADUCT_REPLACED: .replaced
      case VIADUCT_INSTALL_FAILED: .installationFailed
      default: nil
      }
    return operation.map { Observation($0, process: session.identity.process) }
  }

  /// Calls that were passed on, or that will be repeated, did not happen.
  func endObservation(_ observation: Observation, _ request: host_request, _ answer: Answer) {
    let silent = VIADUCT_PASS.rawValue | VIADUCT_PROVIDE.rawValue
    guard answer.raw.action & silent == 0 else { return }
    var record = CallRecord(
      process: observation.process, thread: request.thread, operation: observation.operation,
      name: answer.name, start: observation.start)
    switch observation.operation {
    case .ioctl:
      record.command = UInt32(truncatingIfNeeded: request.argument0)
      record.address = request.argument1
    case .read, .write:
      record.address = request.argument0
      record.byteCount = request.argument1
    case .map: record.byteCount = request.argument0
    case .replaced:
      record.address = request.argument0
      record.byteCount = request.argument1
    default: break
    }
    if [.ioctl, .read, .write].contains(observation.operation) {
      record.bytesBefore = observation.windowBefore
      record.bytesAfter = window.contents
    }
    record.result = answer.raw.result
    record.rule = answer.rule
    record.nanoseconds = host_nanoseconds() - observation.start
    configuration.observer?.called(record)
  }

  func observeProcess(_ session: Session, _ operation: CallRecord.Operation) {
    guard let observer = configuration.observer else { return }
    let process = session.identity.process
    observer.called(
      CallRecord(
        process: process, thread: process, operation: operation, name: "", start: host_nanoseconds()
      ))
  }
}
