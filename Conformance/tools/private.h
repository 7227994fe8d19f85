// SPDX-License-Identifier: Apache-2.0
// Included ahead of a selftest by build: every shared anonymous mapping becomes a private one, so
// that the host meets memory which it cannot share with the client.
#include <sys/mman.h>

static inline void *viaduct_private_mmap(void *address, size_t length, int protection, int flags,
                                         int descriptor, off_t offset) {
  if ((flags & MAP_ANONYMOUS) && (flags & MAP_TYPE) == MAP_SHARED)
    flags = (flags & ~MAP_TYPE) | MAP_PRIVATE;
  return mmap(address, length, protection, flags, descriptor, offset);
}
#define mmap viaduct_private_mmap
