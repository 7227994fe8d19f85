#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "CHost.h"

#define HELPER_CHECK_NANOSECONDS 100000000L
#define SPIN_TURNS 32

static long futex_wait(const _Atomic uint32_t *word, uint32_t value, const struct timespec *limit) {
  return syscall(SYS_futex, word, FUTEX_WAIT, value, limit, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word) {
  syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static void pause_processor(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

uint64_t host_channel_bytes(void) { return sizeof(struct viaduct_channel); }

void *host_channel_map(int descriptor) {
  const int rights = PROT_READ | PROT_WRITE;
  void *mapped = mmap(NULL, sizeof(struct viaduct_channel), rights, MAP_SHARED, descriptor, 0);
  return mapped == MAP_FAILED ? NULL : mapped;
}

void host_channel_unmap(void *channel) { munmap(channel, sizeof(struct viaduct_channel)); }

void host_channel_prepare(void *pages, int32_t host_process, bool helper_required) {
  struct viaduct_channel *channel = pages;
  channel->magic = VIADUCT_MAGIC;
  channel->version = VIADUCT_VERSION;
  channel->slot_count = VIADUCT_SLOTS;
  channel->host_process = host_process;
  channel->helper_required = helper_required;
}

int host_channel_add_prefix(void *pages, int used, const char *prefix) {
  struct viaduct_channel *channel = pages;
  size_t bytes = strlen(prefix) + 1;
  if (used < 0 || bytes < 2 || (size_t)used + bytes + 1 > VIADUCT_PREFIX_BYTES) return -1;
  memcpy(channel->prefixes + used, prefix, bytes);
  return used + (int)bytes;
}

bool host_channel_set_tree(void *pages, const char *path) {
  struct viaduct_channel *channel = pages;
  size_t bytes = strlen(path) + 1;
  if (bytes > sizeof channel->tree) return false;
  memcpy(channel->tree, path, bytes);
  return true;
}

uint64_t host_channel_take(void *pages, uint64_t spin_nanoseconds) {
  struct viaduct_channel *channel = pages;
  if (atomic_load_explicit(&channel->pending, memory_order_relaxed) != 0)
    return atomic_exchange(&channel->pending, 0);
  if (spin_nanoseconds == 0) return 0;
  uint64_t end = host_nanoseconds() + spin_nanoseconds;
  do {
    for (int turn = 0; turn < SPIN_TURNS; turn++) {
      if (atomic_load_explicit(&channel->pending, memory_order_relaxed) != 0)
        return atomic_exchange(&channel->pending, 0);
      pause_processor();
    }
  } while (host_nanoseconds() < end);
  return 0;
}

void host_channel_sleep(void *pages, const uint32_t *stop) {
  struct viaduct_channel *channel = pages;
  atomic_store(&channel->host_sleeps, 1);
  uint32_t seen = atomic_load(&channel->doorbell);
  if (!host_flag_is_set(stop) && atomic_load(&channel->pending) == 0)
    futex_wait(&channel->doorbell, seen, NULL);
  atomic_store(&channel->host_sleeps, 0);
}

void host_channel_ring(void *pages) {
  struct viaduct_channel *channel = pages;
  atomic_fetch_add(&channel->doorbell, 1);
  futex_wake(&channel->doorbell);
}

void host_channel_close(void *pages) {
  struct viaduct_channel *channel = pages;
  atomic_store(&channel->closed, 1);
  for (uint32_t index = 0; index < VIADUCT_SLOTS; index++) {
    _Atomic uint32_t *state = &channel->slots[index].state;
    if (atomic_load(state) == VIADUCT_REQUESTED) futex_wake(state);
  }
  futex_wake(&channel->helper_state);
}

void host_channel_set_pinned(void *pages, uint64_t low, uint64_t high) {
  struct viaduct_channel *channel = pages;
  atomic_store(&channel->pinned_low, low);
  atomic_store(&channel->pinned_high, high);
}

bool host_slot_take(void *pages, uint32_t index, struct host_request *request) {
  struct viaduct_channel *channel = pages;
  struct viaduct_slot *slot = &channel->slots[index];
  if (atomic_load_explicit(&slot->state, memory_order_acquire) != VIADUCT_REQUESTED) return false;
  const volatile struct viaduct_slot *shared = slot; /* each word is read once */
  request->operation = shared->operation;
  request->thread = shared->thread;
  request->process = shared->process;
  request->window_readable = shared->window_readable;
  request->window_writable = shared->window_writable;
  request->file_device = shared->file_device;
  request->file_inode = shared->file_inode;
  request->argument0 = shared->argument[0];
  request->argument1 = shared->argument[1];
  request->argument2 = shared->argument[2];
  request->argument3 = shared->argument[3];
  request->argument4 = shared->argument[4];
  request->argument5 = shared->argument[5];
  request->window_address = shared->window_address;
  return true;
}

uint8_t *host_slot_window(void *pages, uint32_t index) {
  struct viaduct_channel *channel = pages;
  return channel->slots[index].window;
}

void host_slot_answer(void *pages, uint32_t index, const struct host_answer *answer) {
  struct viaduct_channel *channel = pages;
  struct viaduct_slot *slot = &channel->slots[index];
  slot->action = answer->action;
  slot->result = answer->result;
  slot->value[0] = answer->value0;
  slot->value[1] = answer->value1;
  slot->value[2] = answer->value2;
  slot->value[3] = answer->value3;
  slot->write_count = answer->write_count;
  for (uint32_t extent = 0; extent < answer->write_count; extent++) {
    slot->writes[extent].offset = answer->writes[extent].offset;
    slot->writes[extent].length = answer->writes[extent].length;
  }
  atomic_store(&slot->state, VIADUCT_ANSWERED);
  if (atomic_load(&slot->client_sleeps)) futex_wake(&slot->state);
}

static bool has_ended(int pidfd) {
  struct pollfd one = {.fd = pidfd, .events = POLLIN};
  return poll(&one, 1, 0) > 0;
}

static bool wait_for_helper(
    struct viaduct_channel *channel, int pidfd, uint64_t limit_nanoseconds) {
  uint64_t end = host_nanoseconds() + limit_nanoseconds;
  struct timespec step = {.tv_nsec = HELPER_CHECK_NANOSECONDS};
  for (;;) {
    uint32_t state = atomic_load(&channel->helper_state);
    if (state == VIADUCT_ANSWERED) return true;
    futex_wait(&channel->helper_state, state, &step);
    if (atomic_load(&channel->helper_state) == VIADUCT_ANSWERED) return true;
    if (host_nanoseconds() > end || has_ended(pidfd)) return false;
  }
}

int64_t host_helper_call(
    void *pages, int pidfd, uint32_t operation, uint64_t address, void *bytes, uint32_t count,
    uint64_t limit_nanoseconds) {
  struct viaduct_channel *channel = pages;
  if (count > sizeof channel->helper_window) return -EINVAL;
  if (operation == HOST_HELPER_WRITE) memcpy(channel->helper_window, bytes, count);
  channel->helper_operation = operation;
  channel->helper_length = count;
  channel->helper_address = address;
  atomic_store(&channel->helper_state, VIADUCT_REQUESTED);
  futex_wake(&channel->helper_state);
  if (!wait_for_helper(channel, pidfd, limit_nanoseconds)) return -ETIMEDOUT;
  int64_t result = *(const volatile int64_t *)&channel->helper_result;
  if (result > (int64_t)count) result = -EIO;
  if (operation != HOST_HELPER_WRITE && result >= 0) memcpy(bytes, channel->helper_window, count);
  atomic_store(&channel->helper_state, VIADUCT_FREE);
  return result;
}

void host_flag_set(uint32_t *flag) { __atomic_store_n(flag, 1, __ATOMIC_SEQ_CST); }

bool host_flag_is_set(const uint32_t *flag) { return __atomic_load_n(flag, __ATOMIC_SEQ_CST) != 0; }
