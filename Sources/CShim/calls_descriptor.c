/* Calls on descriptors: reading, writing, ioctl, duplicating, closing, receiving. */
#include "shim.h"

#include <asm/ioctls.h>
#include <limits.h>
#include <stdarg.h>
#include <string.h>

extern void __chk_fail(void) __attribute__((noreturn));

#define POSITION_CURRENT (-1L)
#define SMALLEST_POINTER PAGE_BYTES /* an ioctl argument below it is a number */

/* Reading and writing */

/* False: make the real call. A negative result is a negated errno. */
static bool transfer(uint32_t operation, int descriptor, const void *buffer, size_t count, long offset, long *result) {
  struct viaduct_slot *slot = descriptor_slot(descriptor, operation);
  if (!slot) return false;
  slot->argument[0] = (uintptr_t)buffer;
  slot->argument[1] = count;
  slot->argument[2] = (uint64_t)offset;
  size_t window = count < VIADUCT_WINDOW_BYTES ? count : VIADUCT_WINDOW_BYTES;
  if (operation == VIADUCT_WRITE) {
    window_load(slot, (uintptr_t)buffer, window);
  } else { /* what comes back is all that is stored, so the old content need not travel */
    slot->window_address = (uintptr_t)buffer;
    window_probe(slot, window);
    slot->window_readable = slot->window_writable;
  }
  *result = window_store(slot, slot_call(slot));
  bool ours = !(slot->action & VIADUCT_PASS);
  slot_release(slot);
  return ours;
}

/* Piece by piece; an error after the first piece ends a shorter call, as in the kernel. */
static bool transfer_vector(uint32_t operation, int descriptor, const struct iovec *vectors, int count, long offset,
                            long *result) {
  long total = 0;
  if (count < 0 || count > IOV_MAX) {
    *result = -EINVAL;
    return true;
  }
  for (int index = 0; index < count; index++) {
    struct iovec vector = {0};
    long moved = -EFAULT;
    if (guard_copy(&vector, &vectors[index], sizeof vector) == 0) {
      long place = offset == POSITION_CURRENT ? offset : offset + total;
      if (!transfer(operation, descriptor, vector.iov_base, vector.iov_len, place, &moved)) return false;
    }
    if (moved < 0) total = total > 0 ? total : moved;
    else total += moved;
    if (moved < 0 || (size_t)moved < vector.iov_len) break;
  }
  *result = total;
  return true;
}

#define TRANSFER(operation, offset, real_call)                                                                         \
  long result;                                                                                                         \
  if (!descriptor_maybe_ours(descriptor) || !transfer(operation, descriptor, buffer, count, offset, &result))          \
    return real_call;                                                                                                  \
  return finish(result);

#define TRANSFER_VECTOR(operation, offset, real_call)                                                                  \
  long result;                                                                                                         \
  if (!descriptor_maybe_ours(descriptor) ||                                                                            \
      !transfer_vector(operation, descriptor, vectors, count, offset, &result))                                        \
    return real_call;                                                                                                  \
  return finish(result);

EXPORT ssize_t read(int descriptor, void *buffer, size_t count) {
  TRANSFER(VIADUCT_READ, POSITION_CURRENT, REAL(read)(descriptor, buffer, count))
}
EXPORT ssize_t write(int descriptor, const void *buffer, size_t count) {
  TRANSFER(VIADUCT_WRITE, POSITION_CURRENT, REAL(write)(descriptor, buffer, count))
}
EXPORT ssize_t pread(int descriptor, void *buffer, size_t count, off_t offset) {
  if (offset < 0) return REAL(pread)(descriptor, buffer, count, offset); /* EINVAL */
  TRANSFER(VIADUCT_READ, offset, REAL(pread)(descriptor, buffer, count, offset))
}
EXPORT ssize_t pwrite(int descriptor, const void *buffer, size_t count, off_t offset) {
  if (offset < 0) return REAL(pwrite)(descriptor, buffer, count, offset); /* EINVAL */
  TRANSFER(VIADUCT_WRITE, offset, REAL(pwrite)(descriptor, buffer, count, offset))
}
EXPORT ssize_t readv(int descriptor, const struct iovec *vectors, int count) {
  TRANSFER_VECTOR(VIADUCT_READ, POSITION_CURRENT, REAL(readv)(descriptor, vectors, count))
}
EXPORT ssize_t writev(int descriptor, const struct iovec *vectors, int count) {
  TRANSFER_VECTOR(VIADUCT_WRITE, POSITION_CURRENT, REAL(writev)(descriptor, vectors, count))
}
EXPORT ssize_t preadv(int descriptor, const struct iovec *vectors, int count, off_t offset) {
  if (offset < 0) return REAL(preadv)(descriptor, vectors, count, offset); /* EINVAL */
  TRANSFER_VECTOR(VIADUCT_READ, offset, REAL(preadv)(descriptor, vectors, count, offset))
}
EXPORT ssize_t pwritev(int descriptor, const struct iovec *vectors, int count, off_t offset) {
  if (offset < 0) return REAL(pwritev)(descriptor, vectors, count, offset); /* EINVAL */
  TRANSFER_VECTOR(VIADUCT_WRITE, offset, REAL(pwritev)(descriptor, vectors, count, offset))
}
EXPORT ssize_t preadv2(int descriptor, const struct iovec *vectors, int count, off_t offset, int flags) {
  if (offset < POSITION_CURRENT) return REAL(preadv2)(descriptor, vectors, count, offset, flags); /* EINVAL */
  TRANSFER_VECTOR(VIADUCT_READ, offset, REAL(preadv2)(descriptor, vectors, count, offset, flags))
}
EXPORT ssize_t pwritev2(int descriptor, const struct iovec *vectors, int count, off_t offset, int flags) {
  if (offset < POSITION_CURRENT) return REAL(pwritev2)(descriptor, vectors, count, offset, flags); /* EINVAL */
  TRANSFER_VECTOR(VIADUCT_WRITE, offset, REAL(pwritev2)(descriptor, vectors, count, offset, flags))
}

EXPORT ssize_t __read_chk(int descriptor, void *buffer, size_t count, size_t room) {
  if (count > room) __chk_fail();
  return read(descriptor, buffer, count);
}
EXPORT ssize_t __pread_chk(int descriptor, void *buffer, size_t count, off_t offset, size_t room) {
  if (count > room) __chk_fail();
  return pread(descriptor, buffer, count, offset);
}

EXPORT ssize_t pread64(int descriptor, void *buffer, size_t count, off64_t offset) __attribute__((alias("pread")));
EXPORT ssize_t pwrite64(int descriptor, const void *buffer, size_t count, off64_t offset)
    __attribute__((alias("pwrite")));
EXPORT ssize_t preadv64(int descriptor, const struct iovec *vectors, int count, off64_t offset)
    __attribute__((alias("preadv")));
EXPORT ssize_t pwritev64(int descriptor, const struct iovec *vectors, int count, off64_t offset)
    __attribute__((alias("pwritev")));
EXPORT ssize_t preadv64v2(int descriptor, const struct iovec *vectors, int count, off64_t offset, int flags)
    __attribute__((alias("preadv2")));
EXPORT ssize_t pwritev64v2(int descriptor, const struct iovec *vectors, int count, off64_t offset, int flags)
    __attribute__((alias("pwritev2")));
EXPORT ssize_t __pread64_chk(int descriptor, void *buffer, size_t count, off64_t offset, size_t room)
    __attribute__((alias("__pread_chk")));

/* ioctl */

/* The new descriptor's number goes to the place the answer names, or is the call's value when it names none. */
static long install(struct viaduct_slot *slot, long result) {
  uint64_t token = slot->value[1];
  void *place = (void *)slot->value[2];
  long descriptor = slot_descriptor(slot, slot->value[3] & 1);
  if (descriptor < 0) return descriptor;
  int32_t number = (int32_t)descriptor;
  long stored = window_store(slot, result);
  if (stored == result && place && guard_copy(place, &number, sizeof number) != 0) stored = -EFAULT;
  if (stored < 0) {
    (void)raw_close(number);
    slot_install_failed(slot, token, stored);
    return stored;
  }
  descriptor_note_new(number);
  return place ? stored : descriptor;
}

static bool control(int descriptor, unsigned long command, uintptr_t argument, long *result) {
  struct viaduct_slot *slot = descriptor_slot(descriptor, VIADUCT_IOCTL);
  if (!slot) return false;
  slot->argument[0] = command;
  slot->argument[1] = argument;
  if (argument >= SMALLEST_POINTER) {
    window_load(slot, argument, VIADUCT_IOCTL_WINDOW_BYTES);
    window_probe(slot, slot->window_readable);
  }
  long answer = slot_call(slot);
  bool ours = !(slot->action & VIADUCT_PASS);
  if (ours) *result = slot->action & VIADUCT_DESCRIPTOR ? install(slot, answer) : window_store(slot, answer);
  slot_release(slot);
  return ours;
}

EXPORT int ioctl(int descriptor, unsigned long command, ...) {
  va_list arguments;
  va_start(arguments, command);
  void *argument = va_arg(arguments, void *);
  va_end(arguments);
  long result;
  /* Of the descriptor, not of the file behind it. */
  bool is_flag = command == FIOCLEX || command == FIONCLEX || command == FIONBIO;
  if (is_flag || !descriptor_maybe_ours(descriptor) || !control(descriptor, command, (uintptr_t)argument, &result))
    return REAL(ioctl)(descriptor, command, argument);
  return (int)finish(result);
}

/* Duplicating. A copy stands for the same file. */

static int note_copy(int from, int copy) {
  struct file_identity identity;
  if (copy >= 0 && descriptor_confirm(from, &identity)) descriptor_note(copy, &identity);
  return copy;
}

EXPORT int dup(int descriptor) {
  int copy = REAL(dup)(descriptor);
  return descriptor_maybe_ours(descriptor) ? note_copy(descriptor, copy) : copy;
}

/* The target may have been ours, the source may be; both are looked at before the one replaces the other. */
static int duplicate_onto(int from, int to, int flags, bool exact) {
  struct file_identity replaced;
  bool replaces = from != to && descriptor_maybe_ours(to) && descriptor_confirm(to, &replaced);
  int result = exact ? REAL(dup3)(from, to, flags) : REAL(dup2)(from, to);
  if (result < 0 || from == to) return result;
  descriptor_forget(to);
  if (descriptor_maybe_ours(from)) note_copy(from, to);
  if (replaces) descriptor_report_closed(&replaced);
  return result;
}

EXPORT int dup2(int from, int to) { return duplicate_onto(from, to, 0, false); }
EXPORT int dup3(int from, int to, int flags) { return duplicate_onto(from, to, flags, true); }

EXPORT int fcntl(int descriptor, int command, ...) {
  va_list arguments;
  va_start(arguments, command);
  void *argument = va_arg(arguments, void *);
  va_end(arguments);
  int result = REAL(fcntl)(descriptor, command, argument);
  bool copies = command == F_DUPFD || command == F_DUPFD_CLOEXEC;
  return copies && descriptor_maybe_ours(descriptor) ? note_copy(descriptor, result) : result;
}
EXPORT int fcntl64(int descriptor, int command, ...) __attribute__((alias("fcntl")));

/* Closing. The host hears of it before the call returns, so that the next call finds the file gone. */

EXPORT int close(int descriptor) {
  struct file_identity identity;
  if (!descriptor_maybe_ours(descriptor) || !descriptor_confirm(descriptor, &identity))
    return REAL(close)(descriptor);
  descriptor_forget(descriptor); /* first: afterwards the number may be another thread's */
  int result = REAL(close)(descriptor);
  int error = errno;
  descriptor_report_closed(&identity);
  errno = error;
  return result;
}

static void close_ours(unsigned first, unsigned last) {
  for (unsigned word = first / 64; word < DESCRIPTOR_LIMIT / 64 && word <= last / 64; word++) {
    uint64_t bits = atomic_load_explicit(&descriptor_bits[word], memory_order_relaxed);
    for (; bits; bits &= bits - 1) {
      unsigned number = word * 64 + (unsigned)__builtin_ctzll(bits);
      struct file_identity identity;
      if (number >= first && number <= last && descriptor_confirm((int)number, &identity)) (void)close((int)number);
    }
  }
}

/* With CLOSE_RANGE_UNSHARE the other threads keep theirs: the table stays, and is confirmed on use. */
EXPORT int close_range(unsigned first, unsigned last, int flags) {
  if (viaduct_state && flags == 0 && first <= last) close_ours(first, last);
  return REAL(close_range)(first, last, flags);
}

EXPORT void closefrom(int first) {
  if (viaduct_state) close_ours(first < 0 ? 0 : (unsigned)first, UINT_MAX);
  REAL(closefrom)(first);
}

/* Receiving. A descriptor from another process may be ours. */

static void identify_received(struct msghdr *header) {
  for (struct cmsghdr *part = CMSG_FIRSTHDR(header); part; part = CMSG_NXTHDR(header, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t index = 0; index < count; index++) {
      int descriptor;
      memcpy(&descriptor, CMSG_DATA(part) + index * sizeof descriptor, sizeof descriptor);
      descriptor_identify(descriptor);
    }
  }
}

EXPORT ssize_t recvmsg(int descriptor, struct msghdr *header, int flags) {
  ssize_t result = REAL(recvmsg)(descriptor, header, flags);
  if (result >= 0 && viaduct_state && header->msg_controllen) identify_received(header);
  return result;
}

EXPORT int recvmmsg(int descriptor, struct mmsghdr *headers, unsigned count, int flags, struct timespec *timeout) {
  int result = REAL(recvmmsg)(descriptor, headers, count, flags, timeout);
  for (int index = 0; viaduct_state && index < result; index++)
    if (headers[index].msg_hdr.msg_controllen) identify_received(&headers[index].msg_hdr);
  return result;
}
