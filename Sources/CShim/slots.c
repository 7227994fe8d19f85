/* One request: a slot is claimed, rung, waited for and released. */
#include "shim.h"

#include <string.h>

#define FRAME_UNKNOWN UINTPTR_MAX
#define SIGNAL_FRAME_BYTES 1024u /* what the kernel pushes at least, with the floating-point state */

static uint64_t owner_word(struct caller caller) {
  return (uint64_t)(uint32_t)caller.process << 32 | (uint32_t)caller.thread;
}

static uint32_t slot_index(const struct viaduct_slot *slot) {
  return (uint32_t)(slot - atomic_load(&viaduct_state->channel)->slots);
}

/* Makes an owned slot ready for a request. The window is left as it is. */
static void prepare(struct viaduct_slot *slot, uint32_t operation, struct caller caller) {
  atomic_store_explicit(&slot->state, VIADUCT_CLAIMED, memory_order_relaxed);
  atomic_store_explicit(&slot->client_sleeps, 0, memory_order_relaxed);
  memset(&slot->operation, 0, offsetof(struct viaduct_slot, window) - offsetof(struct viaduct_slot, operation));
  slot->operation = operation;
  slot->thread = caller.thread;
  slot->process = caller.process;
}

static bool take_free(uint32_t index, uint64_t owner, uintptr_t frame) {
  uint64_t nobody = 0;
  if (!atomic_compare_exchange_strong(&viaduct_state->slot_owner[index], &nobody, owner)) return false;
  atomic_store(&viaduct_state->slot_frame[index], frame);
  return true;
}

static void give_back(struct viaduct_slot *slot) {
  uint32_t index = slot_index(slot);
  atomic_store(&viaduct_state->slot_frame[index], FRAME_UNKNOWN);
  atomic_store(&slot->state, VIADUCT_FREE);
  atomic_store(&viaduct_state->slot_owner[index], 0);
}

/*
 * Slots left behind. A handler that interrupts our wait may leave by siglongjmp, and the slot of the
 * interrupted call stays claimed by a thread that no longer knows of it. The stack tells: an unfinished
 * call of this thread lies shallower than the present one, by the frame of the signal that nests it at
 * least; any other has been jumped over. On the alternate stack only frames of the same stack compare;
 * once off it, every frame on it is gone. While the host still works on the request the slot is left
 * alone, and a descriptor that it then promises is declined.
 */
static bool is_left_behind(uintptr_t recorded, uintptr_t current) {
  stack_t alternate = {0};
  (void)raw_call3(SYS_sigaltstack, 0, (long)&alternate, 0);
  uintptr_t base = (uintptr_t)alternate.ss_sp;
  bool recorded_there = !(alternate.ss_flags & SS_DISABLE) && recorded - base < alternate.ss_size;
  bool current_there = !(alternate.ss_flags & SS_DISABLE) && current - base < alternate.ss_size;
  if (recorded_there != current_there) return recorded_there;
  return recorded - SIGNAL_FRAME_BYTES <= current;
}

static bool is_gone(uint64_t owner) {
  return raw_call3(SYS_tgkill, (int32_t)(owner >> 32), (int32_t)owner, 0) == -ESRCH;
}

static void recover(struct viaduct_slot *slot, uint64_t owner, struct caller caller) {
  uint32_t index = slot_index(slot);
  if (!atomic_compare_exchange_strong(&viaduct_state->slot_owner[index], &owner, owner_word(caller))) return;
  atomic_store(&viaduct_state->slot_frame[index], FRAME_UNKNOWN);
  if (atomic_load(&slot->state) == VIADUCT_ANSWERED && slot->action & VIADUCT_DESCRIPTOR) {
    uint64_t token = slot->value[1];
    prepare(slot, VIADUCT_INSTALL_FAILED, caller);
    slot_install_failed(slot, token, -EINTR);
  }
  give_back(slot);
}

/* Recovers what this thread left behind; the number of slots it still holds. */
static uint32_t recover_own(struct viaduct_channel *channel, struct caller caller, uintptr_t frame) {
  uint64_t own = owner_word(caller);
  uint32_t held = 0, kept = 0;
  for (uint32_t index = 0; index < VIADUCT_SLOTS; index++)
    held += atomic_load(&viaduct_state->slot_owner[index]) == own;
  bool absurd = held > VIADUCT_SLOTS / 2; /* no handlers nest so deep: jumps from ever deeper calls did this */
  for (uint32_t index = 0; held && index < VIADUCT_SLOTS; index++) {
    if (atomic_load(&viaduct_state->slot_owner[index]) != own) continue;
    bool left = absurd || is_left_behind(atomic_load(&viaduct_state->slot_frame[index]), frame);
    if (left && atomic_load(&channel->slots[index].state) != VIADUCT_REQUESTED)
      recover(&channel->slots[index], own, caller);
    else
      kept++;
  }
  return kept;
}

static void recover_dead(struct viaduct_channel *channel, struct caller caller) {
  for (uint32_t index = 0; index < VIADUCT_SLOTS; index++) {
    uint64_t owner = atomic_load(&viaduct_state->slot_owner[index]);
    if (owner != 0 && atomic_load(&channel->slots[index].state) != VIADUCT_REQUESTED && is_gone(owner))
      recover(&channel->slots[index], owner, caller);
  }
}

struct viaduct_slot *slot_claim(struct viaduct_channel *channel, uint32_t operation) {
  struct caller caller = process_caller();
  uintptr_t frame = (uintptr_t)__builtin_frame_address(0);
  if (viaduct_thread.held) viaduct_thread.held = recover_own(channel, caller, frame);
  uint32_t index = viaduct_thread.slot;
  for (uint32_t tries = 0; !take_free(index, owner_word(caller), frame); tries++) {
    index = (index + 1) % VIADUCT_SLOTS;
    if (tries % VIADUCT_SLOTS != VIADUCT_SLOTS - 1) continue;
    if (atomic_load(&channel->closed)) return NULL;
    recover_dead(channel, caller);
    (void)recover_own(channel, caller, frame);
    raw_yield();
  }
  viaduct_thread.slot = index;
  viaduct_thread.held++;
  prepare(&channel->slots[index], operation, caller);
  return &channel->slots[index];
}

void slot_release(struct viaduct_slot *slot) {
  give_back(slot);
  if (viaduct_thread.held) viaduct_thread.held--;
}

static void ring(struct viaduct_channel *channel, struct viaduct_slot *slot) {
  atomic_store_explicit(&slot->state, VIADUCT_REQUESTED, memory_order_release);
  atomic_fetch_or(&channel->pending, 1ull << slot_index(slot));
  atomic_fetch_add(&channel->doorbell, 1);
  if (atomic_load(&channel->host_sleeps)) raw_futex_wake(&channel->doorbell);
}

static uint64_t nanoseconds_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void pause_processor(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

static bool spin_for_answer(struct viaduct_slot *slot, uint32_t nanoseconds) {
  if (nanoseconds == 0) return false;
  uint64_t end = nanoseconds_now() + nanoseconds;
  do {
    for (int turn = 0; turn < 16; turn++) {
      if (atomic_load_explicit(&slot->state, memory_order_acquire) == VIADUCT_ANSWERED) return true;
      pause_processor();
    }
  } while (nanoseconds_now() < end);
  return false;
}

static bool host_is_gone(struct viaduct_channel *channel) {
  if (atomic_load(&channel->closed)) return true;
  if (channel->host_process <= 0 || raw_call3(SYS_kill, channel->host_process, 0, 0) != -ESRCH) return false;
  atomic_store(&channel->closed, 1);
  return true;
}

/* False: there will be no answer. */
static bool wait_for_answer(struct viaduct_channel *channel, struct viaduct_slot *slot) {
  if (spin_for_answer(slot, viaduct_state->spin_nanoseconds)) return true;
  atomic_store(&slot->client_sleeps, 1);
  bool answered;
  while (!(answered = atomic_load(&slot->state) == VIADUCT_ANSWERED)) {
    if (atomic_load(&channel->closed)) break;
    struct timespec second = {.tv_sec = 1};
    long woken = raw_futex_wait(&slot->state, VIADUCT_REQUESTED, &second);
    if (woken == -ETIMEDOUT && host_is_gone(channel)) break;
  }
  atomic_store(&slot->client_sleeps, 0);
  return answered;
}

long slot_call(struct viaduct_slot *slot) {
  struct viaduct_channel *channel = atomic_load(&viaduct_state->channel);
  for (;;) {
    if (!atomic_load(&channel->closed)) ring(channel, slot);
    if (!wait_for_answer(channel, slot)) {
      slot->action = 0;
      slot->write_count = 0;
      return -EIO;
    }
    if (!(slot->action & VIADUCT_PROVIDE)) return slot->result;
    slot->action = 0;
    long provided = socket_provide((int)slot->value[0]);
    if (provided < 0) return provided;
  }
}

void slot_install_failed(struct viaduct_slot *slot, uint64_t token, long error) {
  slot->operation = VIADUCT_INSTALL_FAILED;
  slot->argument[0] = token;
  slot->argument[1] = (uint64_t)-error;
  (void)slot_call(slot);
}

long slot_descriptor(struct viaduct_slot *slot, bool close_on_exec) {
  uint64_t token = slot->value[1];
  long descriptor = socket_claim(token, close_on_exec);
  slot->action &= ~(uint32_t)VIADUCT_DESCRIPTOR;
  if (descriptor < 0) slot_install_failed(slot, token, descriptor);
  return descriptor;
}
