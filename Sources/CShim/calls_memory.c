/* Mappings: those of served files, and the replacement of memory that the host has pinned. */
#include "shim.h"

#include <stdarg.h>
#include <sys/mman.h>

/* Tells the host that the memory it pinned there is not there any more. */
static void report_replaced(void *address, size_t length) {
  struct viaduct_channel *channel = channel_if_made();
  if (!channel || length == 0) return;
  uintptr_t start = (uintptr_t)address;
  uint64_t low = atomic_load_explicit(&channel->pinned_low, memory_order_relaxed);
  uint64_t high = atomic_load_explicit(&channel->pinned_high, memory_order_relaxed);
  if (start >= high || start + length <= low) return;
  channel = channel_get();
  struct viaduct_slot *slot = channel ? slot_claim(channel, VIADUCT_REPLACED) : NULL;
  if (!slot) return;
  slot->argument[0] = start;
  slot->argument[1] = length;
  (void)slot_call(slot);
  slot_release(slot);
}

/* False: make the real call. */
static bool map_served(void *address, size_t length, int protection, int flags, int descriptor, off_t offset,
                       long *result) {
  struct viaduct_slot *slot = descriptor_slot(descriptor, VIADUCT_MMAP);
  if (!slot) return false;
  slot->argument[0] = length;
  slot->argument[1] = (uint64_t)protection;
  slot->argument[2] = (uint64_t)flags;
  slot->argument[3] = (uint64_t)offset;
  *result = slot_call(slot);
  bool ours = !(slot->action & VIADUCT_PASS);
  if (slot->action & VIADUCT_DESCRIPTOR) {
    off_t place = (off_t)slot->value[0];
    *result = slot_descriptor(slot, true);
    if (*result >= 0) {
      int file = (int)*result;
      *result = raw_mmap(address, length, protection, flags, file, place);
      (void)raw_close(file);
    }
  }
  slot_release(slot);
  return ours;
}

EXPORT void *mmap(void *address, size_t length, int protection, int flags, int descriptor, off_t offset) {
  long served;
  bool maybe = !(flags & MAP_ANONYMOUS) && descriptor_maybe_ours(descriptor);
  void *result = maybe && map_served(address, length, protection, flags, descriptor, offset, &served)
                     ? (void *)finish(served)
                     : REAL(mmap)(address, length, protection, flags, descriptor, offset);
  if (flags & MAP_FIXED && result != MAP_FAILED) report_replaced(address, length);
  return result;
}
EXPORT void *mmap64(void *address, size_t length, int protection, int flags, int descriptor, off64_t offset)
    __attribute__((alias("mmap")));

EXPORT int munmap(void *address, size_t length) {
  /* Before the call, since another thread may map the same addresses after it. */
  if ((uintptr_t)address % PAGE_BYTES == 0) report_replaced(address, length);
  return REAL(munmap)(address, length);
}

EXPORT void *mremap(void *old, size_t old_length, size_t length, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  void *wanted = flags & MREMAP_FIXED ? va_arg(arguments, void *) : NULL;
  va_end(arguments);
  void *result = REAL(mremap)(old, old_length, length, flags, wanted);
  if (result == MAP_FAILED) return result;
  if (result != old) {
    report_replaced(old, old_length);
    report_replaced(result, length);
  } else if (length < old_length) {
    report_replaced((char *)old + length, old_length - length);
  }
  return result;
}

EXPORT int madvise(void *address, size_t length, int advice) {
  int result = REAL(madvise)(address, length, advice);
  if (result == 0 && (advice == MADV_DONTNEED || advice == MADV_REMOVE || advice == MADV_FREE))
    report_replaced(address, length);
  return result;
}
