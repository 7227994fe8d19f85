/*
 * libviaduct.so: forwards the calls on served paths and descriptors to the host, all others to libc.
 *
 * Rules for every line here: it may run in a signal handler, in a vfork child and on a 16 KiB stack.
 * So no malloc, no stdio, no lock the interrupted code can hold, no large local, errno kept on success.
 */
#ifndef VIADUCT_SHIM_H
#define VIADUCT_SHIM_H

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "raw.h"
#include "real.h"
#include "viaduct_channel.h"

#define EXPORT __attribute__((visibility("default")))
#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)
#define PAGE_BYTES 4096u

_Static_assert(sizeof(off_t) == 8, "the 64-bit names are the plain ones");

/* A negated errno becomes errno and -1. */
static inline long finish(long result) {
  if (result >= 0) return result;
  errno = (int)-result;
  return -1;
}

/* process.c: who we are */

enum connection { CONNECTION_NONE, CONNECTION_STARTING, CONNECTION_MADE, CONNECTION_REFUSED };

/* Wiped by the kernel in a forked child, which thereby finds out that it is one. */
struct state {
  _Atomic int32_t process; /* whose memory this is; a vfork child sees its parent's */
  _Atomic uint32_t connection;
  struct viaduct_channel *_Atomic channel;
  uint32_t spin_nanoseconds;
  _Atomic uint64_t slot_owner[VIADUCT_SLOTS]; /* process << 32 | thread; 0: free */
  _Atomic uintptr_t slot_frame[VIADUCT_SLOTS]; /* stack address of the claim */
};

struct caller {
  int32_t process, thread;
};

/* What a thread remembers. A vfork child shares its parent's, hence the process beside the thread. */
struct thread_memory {
  struct caller caller;
  uint32_t slot; /* the last one used */
  uint32_t held; /* slots claimed; more than none: a signal handler nests, or jumped away */
  uint32_t blocked; /* bits of enum fault_signal that the client believes blocked */
};

/* Null when VIADUCT_SOCKET is not set: then nothing is ours. */
extern struct state *viaduct_state;
extern _Thread_local struct thread_memory viaduct_thread __attribute__((tls_model("initial-exec")));

bool process_start(void);
struct caller process_caller(void);
bool process_is_vfork_child(void);
void process_block_signals(uint64_t *saved);
void process_restore_signals(const uint64_t *saved);

/* socket.c: descriptors to and from the host */

bool socket_set_path(const char *path);
const char *socket_path(void);
long socket_hello(int32_t process);
long socket_claim(uint64_t token, bool close_on_exec);
long socket_provide(int descriptor);

/* channel.c: the handshake */

struct viaduct_channel *channel_get(void);
/* Without a handshake; for calls that concern the host only if it knows us. */
static inline struct viaduct_channel *channel_if_made(void) {
  return viaduct_state ? atomic_load_explicit(&viaduct_state->channel, memory_order_relaxed) : NULL;
}

/* helper.c: serves the host's requests for memory it cannot reach */

void helper_start(struct viaduct_channel *channel);

/* slots.c: one request */

/* Null when the channel is closed. */
struct viaduct_slot *slot_claim(struct viaduct_channel *channel, uint32_t operation);
long slot_call(struct viaduct_slot *slot);
void slot_release(struct viaduct_slot *slot);
/* Claims the descriptor the answer promises; when that fails the host is told to undo. */
long slot_descriptor(struct viaduct_slot *slot, bool close_on_exec);
void slot_install_failed(struct viaduct_slot *slot, uint64_t token, long error);

/* guard.c: memory that may not be there */

size_t guard_copy(void *to, const void *from, size_t count); /* returns the bytes not copied */
bool guard_writable(void *address);
long guard_string_length(const char *string, size_t limit); /* limit: no end found; -1: not readable */
bool guard_resume(void *context);

void window_load(struct viaduct_slot *slot, uintptr_t address, size_t count);
void window_probe(struct viaduct_slot *slot, size_t count);
long window_store(const struct viaduct_slot *slot, long result);

/* signals.c */

enum fault_signal { FAULT_SEGMENT, FAULT_BUS, FAULT_SIGNALS };
void signals_start(void);

/* descriptors.c: which descriptors are ours */

#define DESCRIPTOR_LIMIT (1u << 20)

struct file_identity {
  uint64_t device, inode;
};

extern _Atomic uint64_t descriptor_bits[DESCRIPTOR_LIMIT / 64];

static inline bool descriptor_maybe_ours(int descriptor) {
  unsigned number = (unsigned)descriptor;
  if (number >= DESCRIPTOR_LIMIT) return false;
  return atomic_load_explicit(&descriptor_bits[number / 64], memory_order_relaxed) >> (number % 64) & 1;
}

bool descriptor_confirm(int descriptor, struct file_identity *identity);
void descriptor_note(int descriptor, const struct file_identity *identity);
void descriptor_note_new(int descriptor);
void descriptor_forget(int descriptor);
void descriptor_identify(int descriptor);
void descriptor_identify_inherited(void);
void descriptor_report_closed(const struct file_identity *identity);
/* A claimed slot that names the descriptor's file; null: not ours. */
struct viaduct_slot *descriptor_slot(int descriptor, uint32_t operation);

/* paths.c */

/* The host's answer about a path. The redirected path lives in the slot until path_done. */
struct path_answer {
  struct viaduct_slot *slot;
  const char *redirected; /* null: the result counts */
  long result;
};

/* False: make the real call with the client's own path. */
bool path_ask(struct path_answer *answer, uint32_t operation, int directory, const char *path, uint64_t first,
              uint64_t second);
void path_done(struct path_answer *answer);
void path_learn(const struct viaduct_channel *channel);
void path_forget_working_directory(void);
enum whose { PATH_FOREIGN, PATH_SERVED, PATH_LEAVES_SERVED };
/* Lexically, into a buffer of VIADUCT_WINDOW_BYTES. */
enum whose path_normalise(const struct viaduct_channel *channel, char *name, int directory, const char *path);
/* Takes the place of the served tree on disk off the front of a path. */
void path_strip_tree(const struct viaduct_channel *channel, char *path);

/* calls_open.c */

/* False: make the real call. A redirected path has been opened already. */
bool open_served(int directory, const char *path, int flags, mode_t mode, int *result);

/* calls_process.c */

void process_remember_library(void);

#endif
