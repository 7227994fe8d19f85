// SPDX-License-Identifier: Apache-2.0
// A hostile client of /dev/iommu: SEED CALLS THREADS. It makes every call it can think of with sane
// and insane arguments, from several threads and from children that it kills, and then sees whether
// the host still serves a polite client and holds no memory of this one.
//
// With one thread a seed repeats exactly, but for what the killed children got done. Nothing it
// does may kill it: pointers lead into an arena or nowhere, and no read is of what could block.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "CKernelABI.h"

#define PAGE 4096ul
#define MAX_THREADS 32
#define FILES 8     // places for descriptors of /dev/iommu
#define EVENTS 24   // places for what the commands hand out, and copies
#define FIXED_NUMBERS 500  // descriptors from here on are never closed
#define STUCK_SECONDS 60

// --- Memory that pointers may name ---------------------------------------------------------------

// Placed by address, far from everything else: no mistake of host or mock can hit our own state.
#define ARENA 0x100000000000ul
#define ARENA_BYTES (16ul << 20)  // private and shared quarters that stay: what the end checks
#define CHURN (ARENA + ARENA_BYTES)
#define CHURN_BYTES (4ul << 20)  // mapped anew, protected and unmapped all the time
#define ARGUMENTS 0x108000000000ul
#define HOLE 0x10c000000000ul

static int file_memory, file_read_only, null_file;

static void *place(uint64_t address, size_t bytes, int protection, int flags, int descriptor) {
  void *at = mmap((void *)address, bytes, protection, flags | MAP_FIXED_NOREPLACE, descriptor, 0);
  if (at != (void *)address) {
    perror("hostile: mmap");
    exit(2);
  }
  return at;
}

// --- Random numbers: SplitMix64 ------------------------------------------------------------------

struct random {
  uint64_t state;
};

static uint64_t next(struct random *random) {
  uint64_t value = random->state += 0x9e3779b97f4a7c15u;
  value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9u;
  value = (value ^ value >> 27) * 0x94d049bb133111ebu;
  return value ^ value >> 31;
}

static uint64_t below(struct random *random, uint64_t bound) { return next(random) % bound; }
static bool one_in(struct random *random, uint64_t chance) { return below(random, chance) == 0; }
#define PICK(random, ...)                                                     \
  (((const uint64_t[]){__VA_ARGS__})[below(random, sizeof((uint64_t[]){__VA_ARGS__}) / 8)])

// --- Descriptors that all threads use, close and replace -----------------------------------------

struct slot {
  _Atomic int descriptor;
  _Atomic int readers;  // reads and writes at work, whose number must not come to mean another file
};

static struct slot slots[FILES + EVENTS];
static _Atomic int last_closed = -1;

struct worker {
  struct random random;
  pthread_t thread;
  _Atomic uint64_t calls;
  _Atomic bool done;
  _Atomic uint32_t request;  // of the call at work, for the report when it never ends
  _Atomic int descriptor;
  uint64_t quota;
  uint8_t *page;             // for arguments; the page behind is not mapped
  uint8_t *alias;            // writable view of the page that is read-only at `locked`
  uint8_t *locked;
  uint32_t ids[8];           // of objects made lately
  bool is_child;
};

static struct worker workers[MAX_THREADS];
static int thread_count;
static _Atomic uint64_t succeeded, refused, children, signals;

// Puts a descriptor in a place and closes the one that was there, which others may be using.
static void put(struct worker *self, struct slot *slot, int descriptor) {
  int old = atomic_exchange(&slot->descriptor, descriptor);
  if (old < 0) return;
  if (!self->is_child) {
    // First the number changes its meaning under whoever is in a call with it.
    if (one_in(&self->random, 2)) dup2(null_file, old);
    while (atomic_load(&slot->readers) > 0) usleep(100);
  }
  close(old);
  atomic_store(&last_closed, old);
}

static struct slot *any_event(struct worker *self) {
  return &slots[FILES + below(&self->random, EVENTS)];
}

static int iommu(struct worker *self) {
  struct random *random = &self->random;
  if (one_in(random, 50)) return (int)PICK(random, -1, 0, 987, 1 << 30, null_file, file_memory);
  if (one_in(random, 50)) return atomic_load(&last_closed);
  if (one_in(random, 20)) return atomic_load(&any_event(self)->descriptor);
  // Mostly a file of one's own, so that sequences get somewhere.
  uint64_t home = (uint64_t)(self - workers) % FILES;
  return atomic_load(&slots[one_in(random, 8) ? below(random, FILES) : home].descriptor);
}

// --- Values --------------------------------------------------------------------------------------

static uint64_t wild_pointer(struct random *random) {
  return PICK(random, 0, 1, 0xfff, HOLE, HOLE + 0x123, 0xffff800000000000, 0x8000000000000000,
              0xfffffffffffff000, 0xffffffffffffffff, CHURN + CHURN_BYTES - 8, ARENA - 8);
}

static uint64_t pointer(struct random *random) {
  if (one_in(random, 12)) return wild_pointer(random);
  if (one_in(random, 6)) return CHURN + below(random, CHURN_BYTES / PAGE) * PAGE;
  uint64_t address = ARENA + below(random, ARENA_BYTES / PAGE) * PAGE;
  return one_in(random, 5) ? address + below(random, PAGE) : address;
}

static uint64_t length(struct random *random) {
  if (one_in(random, 12))
    return PICK(random, 0, 1, 2047, 4097, 1ul << 31, 1ul << 32, 1ul << 40, 1ul << 63, ~0ul,
                ~0ul - PAGE, ~0ul - PAGE - 1);
  return (1 + below(random, one_in(random, 10) ? 1024 : 16)) * (one_in(random, 10) ? 2048 : PAGE);
}

static uint64_t io_address(struct random *random) {
  if (one_in(random, 12))
    return PICK(random, 0, 1, 2048, 1ul << 31, 1ul << 32, 1ul << 52, 1ul << 63, ~0ul - PAGE + 1,
                ~0ul);
  return MOCK_APERTURE_START + below(random, 256) * PAGE;
}

static uint32_t id(struct worker *self) {
  struct random *random = &self->random;
  if (one_in(random, 20)) return (uint32_t)PICK(random, 0, ~0u, 0x7fffffff, 1000, 0x10000);
  if (one_in(random, 3)) return (uint32_t)(1 + below(random, 24));
  return self->ids[below(random, 8)];
}

static uint32_t pasid(struct random *random) {
  return (uint32_t)PICK(random, 0, 1, 2, 5, IOMMU_TEST_PASID_RESERVED, (1 << 20) - 1, 1 << 20, ~0u);
}

static uint32_t flags(struct random *random, uint32_t likely) {
  if (one_in(random, 10)) return (uint32_t)next(random);
  return (uint32_t)next(random) & likely;
}

static uint32_t mock_type(struct random *random) {
  return (uint32_t)PICK(random, IOMMU_VIOMMU_TYPE_SELFTEST, IOMMU_VIOMMU_TYPE_SELFTEST, 0, 1, 2, 3,
                        IOMMU_HWPT_DATA_SELFTEST, IOMMU_VEVENTQ_TYPE_SELFTEST,
                        IOMMU_HWPT_INVALIDATE_DATA_SELFTEST_INVALID, ~0u);
}

// --- Arguments -----------------------------------------------------------------------------------

union argument {
  uint32_t words[64];
  uint8_t bytes[256];
  struct iommu_destroy destroy;
  struct iommu_ioas_iova_ranges ranges;
  struct iommu_ioas_map map;
  struct iommu_ioas_map_file map_file;
  struct iommu_ioas_copy copy;
  struct iommu_ioas_unmap unmap;
  struct iommu_option option;
  struct iommu_vfio_ioas vfio_ioas;
  struct iommu_hwpt_alloc hwpt;
  struct iommu_hw_info info;
  struct iommu_hwpt_set_dirty_tracking tracking;
  struct iommu_hwpt_get_dirty_bitmap bitmap;
  struct iommu_hwpt_invalidate invalidate;
  struct iommu_fault_alloc fault;
  struct iommu_viommu_alloc viommu;
  struct iommu_vdevice_alloc vdevice;
  struct iommu_veventq_alloc veventq;
  struct iommu_hw_queue_alloc hw_queue;
  struct iommu_test_cmd test;
  struct vfio_iommu_type1_dma_map dma_map;
  struct vfio_iommu_type1_dma_unmap dma_unmap;
};

static uint32_t fill_test(struct worker *self, union argument *argument) {
  struct random *random = &self->random;
  struct iommu_test_cmd *test = &argument->test;
  test->op = (uint32_t)(one_in(random, 30) ? next(random) : 1 + below(random, 23));
  // Devices first: little else works without one.
  if (one_in(random, 6)) test->op = IOMMU_TEST_OP_MOCK_DOMAIN;
  test->id = id(self);
  // Most operations are one of a few shapes: words of ids and flags, or address, length, pointer.
  for (int word = 4; word < 16; word++) argument->words[word] = id(self);
  switch (test->op) {
    case 1:
      test->arguments.add_reserved.start = io_address(random);
      test->arguments.add_reserved.length = length(random);
      break;
    case 3:
    case 8:
      test->arguments.access_rw.iova = io_address(random);
      test->arguments.access_rw.length = length(random);
      test->arguments.access_rw.uptr = pointer(random);
      test->arguments.access_rw.flags = flags(random, 5);
      break;
    case 4:
      test->arguments.check_refs.length = length(random);
      test->arguments.check_refs.uptr = pointer(random);
      test->arguments.check_refs.refs = (uint32_t)below(random, 3);
      break;
    case 5:
      test->arguments.create_access.flags = flags(random, 1);
      break;
    case 7:
      test->arguments.access_pages.flags = flags(random, 1 | 1 << 16);
      test->arguments.access_pages.iova = io_address(random);
      test->arguments.access_pages.length = length(random);
      test->arguments.access_pages.uptr = pointer(random);
      break;
    case 9:
      test->arguments.memory_limit.limit = (uint32_t)PICK(random, 0, 1, 65536, 65536, 100, ~0u);
      break;
    case 12:
      test->arguments.mock_domain_flags.dev_flags = flags(random, 5);
      break;
    case 13:
      test->arguments.dirty.flags = 0;
      test->arguments.dirty.iova = io_address(random);
      test->arguments.dirty.length = length(random);
      test->arguments.dirty.page_size = PICK(random, 2048, 4096, 0, 3, 1ul << 63);
      test->arguments.dirty.uptr = pointer(random);
      break;
    case 15:
      test->arguments.trigger_iopf.pasid = pasid(random);
      test->arguments.trigger_iopf.addr = io_address(random);
      break;
    case 18:
    case 19:
    case 20:
    case 21:
      test->arguments.pasid_attach.pasid = pasid(random);
      break;
    case 22:
      test->arguments.dmabuf_get.length = (uint32_t)length(random);
      test->arguments.dmabuf_get.open_flags = flags(random, O_RDWR | O_CLOEXEC);
      break;
    case 23:
      test->arguments.dmabuf_revoke.dmabuf_fd = atomic_load(&any_event(self)->descriptor);
      break;
  }
  return sizeof *test;
}

// Fills in a likely argument of a command and returns its size.
static uint32_t fill(struct worker *self, uint32_t command, union argument *argument) {
  struct random *random = &self->random;
  switch (command) {
    case 0x80: argument->destroy.id = id(self); return 8;
    case 0x81: return 12;
    case 0x82:
    case 0x84:
      argument->ranges.ioas_id = id(self);
      argument->ranges.num_iovas = (uint32_t)PICK(random, 0, 1, 2, 8, 255, 1 << 20, ~0u);
      argument->ranges.allowed_iovas = pointer(random);
      return command == 0x82 ? 24 : 32;
    case 0x83:
      argument->copy = (struct iommu_ioas_copy){
          0, flags(random, 7), id(self), id(self), length(random), io_address(random),
          io_address(random)};
      return 40;
    case 0x85:
      argument->map = (struct iommu_ioas_map){0, flags(random, 7) | 6, id(self), 0, pointer(random),
                                              length(random), io_address(random)};
      if (one_in(random, 40)) {  // the page count overflows
        argument->map.user_va = 0xfff;
        argument->map.length = ~0ul - PAGE;
        argument->map.iova = 0;
        argument->map.flags = 7;
      }
      return 40;
    case 0x86:
      argument->unmap = (struct iommu_ioas_unmap){0, id(self), io_address(random), length(random)};
      if (one_in(random, 10)) argument->unmap = (struct iommu_ioas_unmap){0, id(self), 0, ~0ul};
      return 24;
    case 0x87:
      argument->option = (struct iommu_option){0, (uint32_t)below(random, 3),
                                               (uint16_t)below(random, 3), 0, id(self),
                                               below(random, 3)};
      return 24;
    case 0x88:
      argument->vfio_ioas =
          (struct iommu_vfio_ioas){0, id(self), (uint16_t)below(random, 4), 0};
      return 12;
    case 0x89:
      argument->hwpt = (struct iommu_hwpt_alloc){
          0, flags(random, 15), id(self), id(self), 0, 0,
          (uint32_t)PICK(random, 0, 0, IOMMU_HWPT_DATA_SELFTEST, IOMMU_HWPT_DATA_SELFTEST, 1, ~0u),
          (uint32_t)PICK(random, 0, 8, 4, 12, ~0u), pointer(random), id(self), 0};
      if (argument->hwpt.data_type == 0 && !one_in(random, 8)) argument->hwpt.data_len = 0;
      return 56;
    case 0x8a:
      argument->info.flags = flags(random, 1);
      argument->info.dev_id = id(self);
      argument->info.data_len = (uint32_t)PICK(random, 0, 4, 8, 64, 4096, ~0u);
      argument->info.data_uptr = pointer(random);
      argument->info.data_type = mock_type(random);
      return 40;
    case 0x8b:
      argument->tracking =
          (struct iommu_hwpt_set_dirty_tracking){0, flags(random, 1), id(self), 0};
      return 16;
    case 0x8c:
      argument->bitmap = (struct iommu_hwpt_get_dirty_bitmap){
          0, id(self), flags(random, 1), 0, io_address(random), length(random),
          PICK(random, 2048, 4096, 4096, 0, 1, 3, 1ul << 63), pointer(random)};
      return 48;
    case 0x8d:
      argument->invalidate = (struct iommu_hwpt_invalidate){
          0, id(self), pointer(random), mock_type(random),
          (uint32_t)PICK(random, 8, 12, 12, 0, 4, 64, 4096, ~0u),
          (uint32_t)PICK(random, 0, 1, 1, 4, 300, 1 << 19, ~0u), 0};
      return 32;
    case 0x8e: argument->fault.flags = flags(random, 0); return 16;
    case 0x8f:
      argument->map_file = (struct iommu_ioas_map_file){
          0, flags(random, 7) | 6, id(self),
          (int)PICK(random, file_memory, file_memory, file_read_only, null_file, -1, 987),
          below(random, 512) * PAGE, length(random), io_address(random)};
      return 40;
    case 0x90:
      argument->viommu = (struct iommu_viommu_alloc){0, flags(random, 0), mock_type(random),
                                                     id(self), id(self), 0,
                                                     (uint32_t)PICK(random, 0, 24, 8, 4096, ~0u), 0,
                                                     pointer(random)};
      return 40;
    case 0x91:
      argument->vdevice = (struct iommu_vdevice_alloc){
          0, id(self), id(self), 0, PICK(random, 0, 1, 0x99, 0xffffffff, 1ul << 32, ~0ul)};
      return 24;
    case 0x92: return 8;
    case 0x93:
      argument->veventq = (struct iommu_veventq_alloc){
          0, flags(random, 0), id(self), mock_type(random),
          (uint32_t)PICK(random, 0, 1, 2, 16, 1 << 20, ~0u), 0, 0, 0};
      return 32;
    case 0x94:
      argument->hw_queue = (struct iommu_hw_queue_alloc){
          0, flags(random, 0), id(self), mock_type(random), (uint32_t)below(random, 4), 0,
          io_address(random), length(random)};
      return 40;
    case 0xa0: return fill_test(self, argument);
    case 113:
      argument->dma_map = (struct vfio_iommu_type1_dma_map){
          0, flags(random, 3), pointer(random), io_address(random), length(random)};
      return 32;
    case 114:
      argument->dma_unmap = (struct vfio_iommu_type1_dma_unmap){0, flags(random, 2),
                                                                io_address(random), length(random)};
      return 24;
    default: return (uint32_t)PICK(random, 8, 16, 24, 64);
  }
}

// Chooses where the argument lies, with its first `bytes` there as far as they fit.
static uint64_t lay(struct worker *self, const union argument *argument, uint32_t bytes) {
  struct random *random = &self->random;
  uint32_t copied = bytes > sizeof *argument ? sizeof *argument : bytes;
  switch (below(random, 24)) {
    case 0: return wild_pointer(random);
    case 1:  // nobody can write the answer here
      memcpy(self->alias, argument, sizeof *argument);
      return (uint64_t)self->locked;
    case 2:
    case 3: {  // ends exactly with the mapped page, or the last word is beyond it
      uint32_t lost = one_in(random, 2) ? 0 : 4;
      if (copied < lost) lost = 0;
      uint8_t *at = self->page + PAGE - copied + lost;
      memcpy(at, argument, copied - lost);
      return (uint64_t)at;
    }
    case 4:  // at an odd address
      memcpy(self->page + 1, argument, sizeof *argument);
      return (uint64_t)(self->page + 1);
    default:
      memset(self->page, one_in(random, 10) ? 0xa5 : 0, PAGE);
      memcpy(self->page, argument, sizeof *argument);
      return (uint64_t)self->page;
  }
}

// Keeps ids and descriptors that a successful call has left in the argument.
static void keep(struct worker *self, uint32_t command, const union argument *answer) {
  struct random *random = &self->random;
  int descriptor = -1;
  uint32_t made = 0;
  switch (command) {
    case 0x81: made = answer->words[2]; break;
    case 0x89: made = answer->hwpt.out_hwpt_id; break;
    case 0x8e:
      made = answer->fault.out_fault_id;
      descriptor = (int)answer->fault.out_fault_fd;
      break;
    case 0x90: made = answer->viommu.out_viommu_id; break;
    case 0x91: made = answer->vdevice.out_vdevice_id; break;
    case 0x93:
      made = answer->veventq.out_veventq_id;
      descriptor = (int)answer->veventq.out_veventq_fd;
      break;
    case 0x94: made = answer->hw_queue.out_hw_queue_id; break;
    case 0xa0:
      if (answer->test.op == 2 || answer->test.op == 12) {
        self->ids[below(random, 8)] = answer->test.arguments.mock_domain.out_stdev_id;
        self->ids[below(random, 8)] = answer->test.arguments.mock_domain.out_idev_id;
        made = answer->test.arguments.mock_domain.out_hwpt_id;
      }
      if (answer->test.op == IOMMU_TEST_OP_CREATE_ACCESS)
        descriptor = (int)answer->test.arguments.create_access.out_access_fd;
      break;
  }
  if (made) self->ids[below(random, 8)] = made;
  if (descriptor > 2 && descriptor < FIXED_NUMBERS) put(self, any_event(self), descriptor);
}

static void hostile_ioctl(struct worker *self) {
  struct random *random = &self->random;
  union argument argument;
  memset(&argument, 0, sizeof argument);
  uint32_t command = 0x80 + (uint32_t)below(random, 0x16);
  if (one_in(random, 3)) command = 0xa0;
  if (one_in(random, 10)) command = 100 + (uint32_t)below(random, 18);
  if (one_in(random, 50)) command = (uint32_t)PICK(random, 0x7f, 0x96, 0x9f, 0xa1, 0xff, 0);
  uint32_t size = fill(self, command, &argument);

  if (one_in(random, 4)) argument.words[1 + below(random, 15)] = (uint32_t)next(random);
  if (one_in(random, 20))
    for (int word = 0; word < 64; word++) argument.words[word] = (uint32_t)next(random);
  argument.words[0] = size;
  if (one_in(random, 10))
    argument.words[0] = (uint32_t)PICK(random, 0, 1, 3, 4, size - 1, size - 4, size + 1, size + 8,
                                       size + 64, PAGE, PAGE + 1, 1 << 20, 0x7fffffff, ~0u);

  uint32_t request = viaduct_ioctl_request(command);
  if (one_in(random, 60)) request ^= 1u << below(random, 32);
  uint64_t at = lay(self, &argument, argument.words[0]);
  if (command == 101 || command == 102)  // the argument is a number
    at = one_in(random, 4) ? at : below(random, 12);
  int descriptor = iommu(self);
  atomic_store(&self->request, request);
  atomic_store(&self->descriptor, descriptor);
  int result = ioctl(descriptor, request, at);
  atomic_fetch_add(result < 0 ? &refused : &succeeded, 1);
  if (result < 0 || request >> 8 != VIADUCT_IOCTL_TYPE) return;
  command = request & 0xff;
  uint64_t end = (uint64_t)self->page + PAGE;
  if (at < (uint64_t)self->page || at >= end) return;
  memcpy(&argument, (void *)at, end - at < sizeof argument ? end - at : sizeof argument);
  if (command == 0xa0 && argument.test.op == IOMMU_TEST_OP_DMABUF_GET) {
    if (result > 2 && result < FIXED_NUMBERS) put(self, any_event(self), result);
  } else {
    keep(self, command, &argument);
  }
}

// --- Everything that is not an ioctl -------------------------------------------------------------

static void transfer(struct worker *self) {
  struct random *random = &self->random;
  struct slot *slot = any_event(self);
  uint64_t buffer = pointer(random);
  uint64_t count =
      PICK(random, 0, 1, 7, 8, 12, 16, 20, 40, 41, 80, 400, 4096, 1ul << 40, ~0ul >> 1);
  uint32_t response[4] = {(uint32_t)below(random, 6), (uint32_t)below(random, 3),
                          (uint32_t)below(random, 6), 0};
  atomic_fetch_add(&slot->readers, 1);
  int descriptor = atomic_load(&slot->descriptor);
  atomic_store(&self->descriptor, descriptor);
  switch (below(random, 6)) {
    case 0: (void)!write(descriptor, (void *)buffer, count); break;
    case 1: (void)!write(descriptor, response, below(random, 2) ? 8 : 16); break;
    case 2: (void)!pread(descriptor, (void *)buffer, count, (off_t)below(random, 3)); break;
    default: (void)!read(descriptor, (void *)buffer, count); break;
  }
  atomic_fetch_sub(&slot->readers, 1);
}

static void wait_for_events(struct worker *self) {
  struct random *random = &self->random;
  if (one_in(random, 8)) {
    (void)!poll((struct pollfd *)wild_pointer(random), 1, 0);
    return;
  }
  struct pollfd polled[4];
  for (int i = 0; i < 4; i++) {
    polled[i].fd = i ? atomic_load(&any_event(self)->descriptor) : iommu(self);
    polled[i].events = (short)next(random);
  }
  poll(polled, 4, 0);
}

static void map_descriptor(struct worker *self) {
  struct random *random = &self->random;
  static const int protections[] = {PROT_NONE, PROT_READ, PROT_WRITE, PROT_READ | PROT_WRITE};
  size_t bytes = (size_t)PICK(random, 0, 1, PAGE, PAGE, 2 * PAGE, 1ul << 30, 1ul << 60);
  off_t offset = (off_t)PICK(random, 0, PAGE, PAGE, 2 * PAGE, 3 * PAGE, 1, 1ul << 40, 1ul << 62);
  void *at = mmap(NULL, bytes, protections[below(random, 4)],
                  one_in(random, 4) ? MAP_PRIVATE : MAP_SHARED, iommu(self), offset);
  if (at == MAP_FAILED) return;
  for (int i = 0; i < 3; i++) hostile_ioctl(self);  // perhaps its object goes
  munmap(at, bytes);
}

// Changes memory that the host has been told about. Nobody here touches it.
static void churn(struct worker *self) {
  struct random *random = &self->random;
  uint64_t pages = 1 + below(random, 64);
  uint64_t at = CHURN + below(random, CHURN_BYTES / PAGE - pages) * PAGE;
  void *address = (void *)at;
  switch (below(random, 6)) {
    case 0: munmap(address, pages * PAGE); break;
    case 1: mprotect(address, pages * PAGE, PROT_READ); break;
    case 2: madvise(address, pages * PAGE, MADV_DONTNEED); break;
    case 3:
      mmap(address, pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file_memory, 0);
      break;
    default:
      mmap(address, pages * PAGE, PROT_READ | PROT_WRITE,
           (one_in(random, 2) ? MAP_SHARED : MAP_PRIVATE) | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  }
}

static int send_to_self(int descriptor) {
  int pair[2], received = -1;
  if (descriptor < 0 || socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair))
    return -1;
  char byte = 0;
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int))];
  } control;
  struct iovec vector = {&byte, 1};
  struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control,
                           .msg_controllen = sizeof control};
  control.header = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET,
                                    .cmsg_type = SCM_RIGHTS};
  memcpy(CMSG_DATA(&control.header), &descriptor, sizeof descriptor);
  if (sendmsg(pair[0], &message, 0) == 1) {
    message.msg_controllen = sizeof control;
    if (recvmsg(pair[1], &message, MSG_CMSG_CLOEXEC) == 1 && CMSG_FIRSTHDR(&message))
      memcpy(&received, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof received);
  }
  close(pair[0]);
  close(pair[1]);
  return received;
}

static void shuffle_descriptors(struct worker *self) {
  struct random *random = &self->random;
  struct slot *file = &slots[below(random, FILES)];
  struct slot *event = any_event(self);
  int descriptor;
  switch (below(random, 7)) {
    case 0:
    case 1: put(self, file, open("/dev/iommu", O_RDWR | O_CLOEXEC)); break;
    case 2:  // the same file by another number; the place of one takes the other
      descriptor = fcntl(atomic_load(&file->descriptor), F_DUPFD_CLOEXEC, 3);
      if (descriptor >= 0) put(self, file, descriptor);
      break;
    case 3: put(self, event, dup(atomic_load(&event->descriptor))); break;
    case 4: put(self, event, -1); break;
    case 5:
      descriptor = send_to_self(atomic_load(&file->descriptor));
      if (descriptor >= 0) put(self, file, descriptor);
      break;
    case 6: {  // a file that maps itself, which Linux never lets go: it must not hold our memory
      int alone = open("/dev/iommu", O_RDWR | O_CLOEXEC);
      struct iommu_ioas_alloc space = {.size = sizeof space};
      if (alone < 0) break;
      if (ioctl(alone, viaduct_ioctl_request(IOMMUFD_CMD_IOAS_ALLOC), &space) == 0) {
        struct iommu_ioas_map_file map = {
            sizeof map, 7, space.out_ioas_id, alone, 0, PAGE, MOCK_APERTURE_START};
        ioctl(alone, viaduct_ioctl_request(IOMMUFD_CMD_IOAS_MAP_FILE), &map);
      }
      close(alone);
      break;
    }
  }
}

static void step(struct worker *self);

static void pause_for(uint64_t microseconds) {
  struct timespec time = {(time_t)(microseconds / 1000000), (long)(microseconds % 1000000) * 1000};
  nanosleep(&time, NULL);
}

// A child shares every descriptor, goes on as its parent did, and dies at any moment.
static void sacrifice_child(struct worker *self) {
  uint64_t patience = below(&self->random, 3000);
  uint64_t child_seed = next(&self->random);
  pid_t child = fork();
  if (child < 0) return;
  if (child == 0) {
    self->is_child = true;
    self->random.state = child_seed;
    // Enough to outlast its parent's patience, and an end of its own should the parent die.
    for (int i = 0; i < 2000; i++) step(self);
    _exit(0);
  }
  pause_for(patience);
  kill(child, SIGKILL);
  while (waitpid(child, NULL, 0) < 0 && errno == EINTR) continue;
  atomic_fetch_add(&children, 1);
}

static void on_signal(int number) {
  (void)number;
  int saved = errno;
  struct iommu_destroy nothing = {sizeof nothing, 0};
  ioctl(atomic_load(&slots[0].descriptor), viaduct_ioctl_request(IOMMUFD_CMD_DESTROY), &nothing);
  atomic_fetch_add(&signals, 1);
  errno = saved;
}

static void step(struct worker *self) {
  struct random *random = &self->random;
  uint64_t kind = below(random, 1000);
  if (kind < 850) hostile_ioctl(self);
  else if (kind < 920) transfer(self);
  else if (kind < 950) wait_for_events(self);
  else if (kind < 970) shuffle_descriptors(self);
  else if (kind < 985) churn(self);
  else if (kind < 997) map_descriptor(self);
  else if (self->is_child) return;
  else if (kind < 999) {
    struct worker *other = &workers[below(random, (uint64_t)thread_count)];
    if (!atomic_load(&other->done)) pthread_kill(other->thread, SIGUSR1);
  } else if (one_in(random, 4)) sacrifice_child(self);
  atomic_fetch_add(&self->calls, 1);
}

static _Atomic bool go;
static _Atomic int finished;

static void *work(void *argument) {
  struct worker *self = argument;
  while (!atomic_load(&go)) usleep(1000);
  while (atomic_load(&self->calls) < self->quota) step(self);
  atomic_store(&self->done, true);
  // Nobody's thread may end while another can still send it a signal.
  atomic_fetch_add(&finished, 1);
  while (atomic_load(&finished) < thread_count) usleep(1000);
  return NULL;
}

// --- Beginning and end ---------------------------------------------------------------------------

static int high(int descriptor) {
  int moved = fcntl(descriptor, F_DUPFD_CLOEXEC, FIXED_NUMBERS);
  close(descriptor);
  return moved;
}

static void prepare(uint64_t seed, uint64_t calls) {
  file_memory = high(memfd_create("hostile", MFD_CLOEXEC));
  null_file = high(open("/dev/null", O_RDWR | O_CLOEXEC));
  if (file_memory < 0 || null_file < 0 || ftruncate(file_memory, 4 << 20)) {
    perror("hostile: descriptors");
    exit(2);
  }
  char path[64];
  snprintf(path, sizeof path, "/proc/self/fd/%d", file_memory);
  file_read_only = high(open(path, O_RDONLY | O_CLOEXEC));

  int both = PROT_READ | PROT_WRITE;
  uint64_t quarter = ARENA_BYTES / 4;
  place(ARENA, quarter, both, MAP_PRIVATE | MAP_ANONYMOUS, -1);
  place(ARENA + quarter, quarter, both, MAP_SHARED | MAP_ANONYMOUS, -1);
  place(ARENA + 2 * quarter, quarter, both, MAP_SHARED, file_memory);
  place(ARENA + 3 * quarter, quarter, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1);
  place(CHURN, CHURN_BYTES, both, MAP_PRIVATE | MAP_ANONYMOUS, -1);
  // The type words in memory make some invalidations and nested tables plausible.
  struct random random = {seed ^ 0x61};
  for (uint64_t at = 0; at < 2 * quarter; at += 4)
    *(uint32_t *)(ARENA + at) = (uint32_t)(one_in(&random, 8) ? next(&random) : below(&random, 4));

  for (int i = 0; i < FILES + EVENTS; i++)
    atomic_store(&slots[i].descriptor, i < FILES ? open("/dev/iommu", O_RDWR | O_CLOEXEC) : -1);
  if (atomic_load(&slots[0].descriptor) < 0) {
    perror("hostile: /dev/iommu");
    exit(2);
  }
  for (int i = 0; i < thread_count; i++) {
    struct worker *self = &workers[i];
    uint64_t base = ARGUMENTS + (uint64_t)i * 16 * PAGE;
    int shared = memfd_create("arguments", MFD_CLOEXEC);
    if (shared < 0 || ftruncate(shared, PAGE)) exit(2);
    self->page = place(base, PAGE, both, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    self->alias = place(base + 4 * PAGE, PAGE, both, MAP_SHARED, shared);
    self->locked = place(base + 8 * PAGE, PAGE, PROT_READ, MAP_SHARED, shared);
    close(shared);
    self->random.state = seed + (uint64_t)i * 0x5851f42d4c957f2d;
    self->quota = calls / (uint64_t)thread_count;
    for (int k = 0; k < 8; k++) self->ids[k] = (uint32_t)k + 1;
  }
}

#define DEMAND(condition)                                                       \
  do {                                                                          \
    if (!(condition)) {                                                         \
      printf("hostile: afterwards: %s: %s\n", #condition, strerror(errno));     \
      return 1;                                                                 \
    }                                                                           \
  } while (0)

static int test_operation(int file, struct iommu_test_cmd *test) {
  test->size = sizeof *test;
  return ioctl(file, viaduct_ioctl_request(IOMMUFD_CMD_TEST), test);
}

static int count_references(int file, uint64_t address, uint64_t bytes, uint32_t expected) {
  struct iommu_test_cmd test = {.op = IOMMU_TEST_OP_MD_CHECK_REFS};
  test.arguments.check_refs.uptr = address;
  test.arguments.check_refs.length = bytes;
  test.arguments.check_refs.refs = expected;
  return test_operation(file, &test);
}

// A polite client: does the host serve it, and hold none of the memory any more?
static int inspect(void) {
  for (int descriptor = 3; descriptor < FIXED_NUMBERS; descriptor++) close(descriptor);
  int file = open("/dev/iommu", O_RDWR | O_CLOEXEC);
  DEMAND(file >= 0);
  struct iommu_test_cmd limit = {.op = IOMMU_TEST_OP_SET_TEMP_MEMORY_LIMIT};
  limit.arguments.memory_limit.limit = 65536;
  DEMAND(test_operation(file, &limit) == 0);
  DEMAND(count_references(file, ARENA, ARENA_BYTES, 0) == 0);

  struct iommu_ioas_alloc space = {.size = sizeof space};
  DEMAND(ioctl(file, viaduct_ioctl_request(IOMMUFD_CMD_IOAS_ALLOC), &space) == 0);
  struct iommu_test_cmd device = {.op = IOMMU_TEST_OP_MOCK_DOMAIN, .id = space.out_ioas_id};
  DEMAND(test_operation(file, &device) == 0);
  struct iommu_ioas_map map = {sizeof map, 7, space.out_ioas_id, 0, ARENA, 16 * PAGE,
                               MOCK_APERTURE_START};
  DEMAND(ioctl(file, viaduct_ioctl_request(IOMMUFD_CMD_IOAS_MAP), &map) == 0);
  struct iommu_test_cmd check = {.op = IOMMU_TEST_OP_MD_CHECK_MAP,
                                 .id = device.arguments.mock_domain.out_hwpt_id};
  check.arguments.check_map.iova = map.iova;
  check.arguments.check_map.length = map.length;
  check.arguments.check_map.uptr = ARENA;
  DEMAND(test_operation(file, &check) == 0);
  DEMAND(count_references(file, ARENA, map.length, 1) == 0);
  struct iommu_ioas_unmap unmap = {sizeof unmap, space.out_ioas_id, map.iova, map.length};
  DEMAND(ioctl(file, viaduct_ioctl_request(IOMMUFD_CMD_IOAS_UNMAP), &unmap) == 0);
  DEMAND(unmap.length == 16 * PAGE);
  DEMAND(count_references(file, ARENA, ARENA_BYTES, 0) == 0);
  close(file);
  return 0;
}

static uint64_t seconds(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec;
}

// Waits for the threads; false when one of them is in the same call for too long.
static bool supervise(uint64_t calls) {
  uint64_t seen[MAX_THREADS] = {0}, since[MAX_THREADS];
  uint64_t deadline = seconds() + 60 + calls / 500;
  for (int i = 0; i < thread_count; i++) since[i] = seconds();
  while (atomic_load(&finished) < thread_count) {
    usleep(20000);
    for (int i = 0; i < thread_count; i++) {
      uint64_t done = atomic_load(&workers[i].calls), now = seconds();
      if (done != seen[i] || atomic_load(&workers[i].done)) seen[i] = done, since[i] = now;
      if (now - since[i] < STUCK_SECONDS && now < deadline) continue;
      printf("hostile: thread %d is stuck after %llu calls; last ioctl: 0x%x on descriptor %d\n",
             i, (unsigned long long)done, atomic_load(&workers[i].request),
             atomic_load(&workers[i].descriptor));
      return false;
    }
  }
  return true;
}

int main(int argc, char **argv) {
  if (argc != 4) {
    fprintf(stderr, "usage: hostile SEED CALLS THREADS\n");
    return 2;
  }
  uint64_t seed = strtoull(argv[1], NULL, 0), calls = strtoull(argv[2], NULL, 0);
  thread_count = atoi(argv[3]);
  if (thread_count < 1 || thread_count > MAX_THREADS) {
    fprintf(stderr, "hostile: from 1 to %d threads\n", MAX_THREADS);
    return 2;
  }
  setvbuf(stdout, NULL, _IOLBF, 0);
  printf("hostile: seed %llu, %llu calls, %d threads\n", (unsigned long long)seed,
         (unsigned long long)calls, thread_count);
  signal(SIGPIPE, SIG_IGN);
  struct sigaction action = {.sa_handler = on_signal};
  sigaction(SIGUSR1, &action, NULL);
  prepare(seed, calls);
  for (int i = 0; i < thread_count; i++)
    if (pthread_create(&workers[i].thread, NULL, work, &workers[i])) return 2;
  atomic_store(&go, true);
  if (!supervise(calls)) _exit(1);
  for (int i = 0; i < thread_count; i++) pthread_join(workers[i].thread, NULL);
  if (inspect()) return 1;
  printf("hostile: survived: seed %llu, %llu ioctls succeeded, %llu were refused, %llu children "
         "killed, %llu signals\n",
         (unsigned long long)seed, (unsigned long long)atomic_load(&succeeded),
         (unsigned long long)atomic_load(&refused), (unsigned long long)atomic_load(&children),
         (unsigned long long)atomic_load(&signals));
  return 0;
}
