/* The handshake: on first need, and anew in a forked child. */
#include "shim.h"

#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#define SPIN_NANOSECONDS 20000u

static void complain(const char *reason) {
  static atomic_flag told; /* inherited: a child does not repeat it */
  if (atomic_flag_test_and_set(&told)) return;
  const char *parts[] = {"viaduct: cannot reach the host at ", socket_path(), ": ", reason, "\n"};
  struct iovec vectors[sizeof parts / sizeof *parts];
  for (size_t index = 0; index < sizeof parts / sizeof *parts; index++)
    vectors[index] = (struct iovec){.iov_base = (void *)parts[index], .iov_len = strlen(parts[index])};
  (void)raw_call3(SYS_writev, STDERR_FILENO, (long)vectors, sizeof parts / sizeof *parts);
}

/* Yama lets only ancestors look into a process, unless it names another. */
static void admit_host(int32_t host) {
  long file = raw_open("/proc/sys/kernel/yama/ptrace_scope", O_RDONLY | O_CLOEXEC);
  if (file < 0) return;
  char scope = 0;
  if (raw_read((int)file, &scope, 1) == 1 && scope == '1')
    (void)raw_call6(SYS_prctl, PR_SET_PTRACER, host, 0, 0, 0, 0);
  (void)raw_close((int)file);
}

static uint32_t spin_time(void) {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  (void)raw_call3(SYS_sched_getaffinity, 0, sizeof allowed, (long)&allowed);
  return CPU_COUNT(&allowed) > 1 ? SPIN_NANOSECONDS : 0;
}

static struct viaduct_channel *map_channel(int file) {
  struct stat status = {0};
  if (raw_fstat(file, &status) < 0 || status.st_size < (off_t)sizeof(struct viaduct_channel)) return NULL;
  long place = raw_mmap(NULL, sizeof(struct viaduct_channel), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (place < 0) return NULL;
  struct viaduct_channel *channel = (struct viaduct_channel *)place;
  (void)raw_call3(SYS_madvise, place, sizeof *channel, MADV_DONTFORK);
  if (channel->magic == VIADUCT_MAGIC && channel->version == VIADUCT_VERSION && channel->slot_count == VIADUCT_SLOTS)
    return channel;
  (void)raw_munmap(channel, sizeof *channel);
  return NULL;
}

/* The connection's new state. Want of descriptors or memory is the client's own trouble, and may pass. */
static uint32_t connect_to_host(struct state *state) {
  long file = socket_hello(atomic_load(&state->process));
  if (file == -EMFILE || file == -ENFILE || file == -ENOMEM) return CONNECTION_NONE;
  if (file < 0) {
    complain(strerrordesc_np((int)-file));
    return CONNECTION_REFUSED;
  }
  struct viaduct_channel *channel = map_channel((int)file);
  (void)raw_close((int)file);
  if (!channel) {
    complain("its channel is of another version");
    return CONNECTION_REFUSED;
  }
  admit_host(channel->host_process);
  path_learn(channel);
  for (uint32_t index = 0; index < VIADUCT_SLOTS; index++) {
    atomic_store(&state->slot_owner[index], 0);
    atomic_store(&state->slot_frame[index], UINTPTR_MAX);
  }
  state->spin_nanoseconds = spin_time();
  atomic_store(&state->channel, channel);
  if (channel->helper_required) helper_start(channel);
  return CONNECTION_MADE;
}

struct viaduct_channel *channel_get(void) {
  struct state *state = viaduct_state;
  if (!state) return NULL;
  bool is_vfork_child = process_is_vfork_child(); /* a new owner of the state enters itself */
  for (;;) {
    uint32_t connection = atomic_load(&state->connection);
    if (connection == CONNECTION_MADE) return atomic_load(&state->channel);
    if (connection == CONNECTION_REFUSED) return NULL;
    /* A connection made here would be the child's, and end with it, in its parent's state. */
    if (is_vfork_child && connection == CONNECTION_NONE) return NULL;
    if (connection == CONNECTION_STARTING) {
      (void)raw_futex_wait(&state->connection, CONNECTION_STARTING, NULL);
      continue;
    }
    uint64_t signals;
    process_block_signals(&signals); /* a handler that came here too would wait for itself */
    if (atomic_compare_exchange_strong(&state->connection, &connection, CONNECTION_STARTING)) {
      connection = connect_to_host(state);
      atomic_store(&state->connection, connection);
      raw_futex_wake(&state->connection);
      process_restore_signals(&signals);
      if (connection == CONNECTION_NONE) return NULL;
    } else {
      process_restore_signals(&signals);
    }
  }
}
