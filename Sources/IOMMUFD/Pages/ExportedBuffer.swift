public import Clients
public import Hardware

/// Device memory that its exporter lends out by descriptor and can take back (kernel: dma-buf).
public final class ExportedBuffer: MachineFile {
  private struct Use {
    unowned var space: IOAddressSpace
    unowned var area: Area
  }

  public let byteCount: UInt64
  public let base: PhysicalAddress
  private let source: MemorySource
  private var uses: [Use] = []
  public private(set) var isRevoked = false

  /// A buffer of whole pages over memory of the machine.
  public init(byteCount: UInt64, source: MemorySource) throws(Refusal) {
    self.byteCount = byteCount
    self.source = source
    var base = PhysicalAddress(0)
    do throws(PinError) {
      try source.pin(firstPage: 0, pageCount: byteCount >> pageShift) { base = $0.base }
    } catch {
      throw Refusal(.ENOMEM, because: "the machine has no physical addresses left")
    }
    self.base = base
  }

  deinit {
    source.unpin(firstPage: 0, pageCount: byteCount >> pageShift)
  }

  public var name: String { "[dmabuf]" }
  public var status: FileStatus { FileStatus(mode: 0o600, byteCount: byteCount) }
  public func release() {}

  /// The exporter takes the buffer back, or offers it again to those that map it anew: whoever maps
  /// it now loses it either way.
  public func setRevoked(_ revoked: Bool) {
    isRevoked = revoked
    for use in uses where !use.area.pages.isRevoked && use.area.isFilled {
      for domain in use.space.domains { use.area.unmap(from: domain) }
    }
    for use in uses { use.area.pages.revoke() }
  }

  func track(_ area: Area, in space: IOAddressSpace) {
    uses.append(Use(space: space, area: area))
  }

  func untrack(_ area: Area) {
    uses.removeAll { $0.area === area }
  }
}
