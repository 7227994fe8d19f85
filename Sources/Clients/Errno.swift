// swift-format-ignore-file: AlwaysUseLowerCamelCase

/// The kernel's error numbers under their own names: they are part of the interface we reproduce.
public enum Errno: Int32, Error, Sendable {
  case EPERM = 1
  case ENOENT = 2
  case EINTR = 4
  case EIO = 5
  case ENXIO = 6
  case E2BIG = 7
  case EBADF = 9
  case EAGAIN = 11
  case ENOMEM = 12
  case EACCES = 13
  case EFAULT = 14
  case EBUSY = 16
  case EEXIST = 17
  case ENODEV = 19
  case ENOTDIR = 20
  case EISDIR = 21
  case EINVAL = 22
  case EMFILE = 24
  case ENOTTY = 25
  case EFBIG = 27
  case ENOSPC = 28
  case ESPIPE = 29
  case EROFS = 30
  case ERANGE = 34
  case EBADE = 52
  case EOVERFLOW = 75
  case EBADFD = 77
  case EMSGSIZE = 90
  case EOPNOTSUPP = 95
  case EADDRINUSE = 98
}

/// A call that was refused: the number the client sees, and the rule that refused it.
public struct Refusal: Error, Sendable {
  public let errno: Errno
  /// For the trace: a clause that completes "refused because ...".
  public let rule: StaticString

  @inlinable
  public init(_ errno: Errno, because rule: StaticString) {
    self.errno = errno
    self.rule = rule
  }
}
