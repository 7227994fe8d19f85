/* Who we are: the process whose memory this is, a vfork child that borrows it, or a forked child. */
#include "shim.h"

#include <sys/mman.h>

struct state *viaduct_state;
_Thread_local struct thread_memory viaduct_thread __attribute__((tls_model("initial-exec")));

bool process_start(void) {
  long page = raw_mmap(NULL, sizeof(struct state), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page < 0) return false;
  if (raw_call3(SYS_madvise, page, sizeof(struct state), MADV_WIPEONFORK) < 0) return false;
  struct state *state = (struct state *)page;
  atomic_store(&state->process, raw_getpid());
  viaduct_state = state;
  return true;
}

struct caller process_caller(void) {
  struct caller caller = {.process = raw_getpid()};
  if (viaduct_thread.caller.process != caller.process) {
    viaduct_thread.caller.thread = raw_gettid();
    viaduct_thread.caller.process = caller.process;
  }
  caller.thread = viaduct_thread.caller.thread;
  return caller;
}

/*
 * A vfork child differs from the owner of the state in its process id, and is the owner's child. Anyone
 * else who differs owns this memory now: a forked child finds zero; and if a vfork child of that one
 * came first and entered itself, the parent corrects it here.
 */
bool process_is_vfork_child(void) {
  int32_t process = raw_getpid();
  int32_t owner = atomic_load(&viaduct_state->process);
  if (owner == process) return false;
  if (owner != 0 && owner == raw_getppid()) return true;
  if (owner != 0) {
    atomic_store(&viaduct_state->channel, NULL);
    atomic_store(&viaduct_state->connection, CONNECTION_NONE);
  }
  atomic_store(&viaduct_state->process, process);
  return false;
}

/* All but the signals of our guard and the two that glibc uses between its threads (32, 33). */
void process_block_signals(uint64_t *saved) {
  uint64_t blocked = ~(1ull << (SIGSEGV - 1) | 1ull << (SIGBUS - 1) | 1ull << 31 | 1ull << 32);
  (void)raw_call4(SYS_rt_sigprocmask, SIG_BLOCK, (long)&blocked, (long)saved, sizeof blocked);
}

void process_restore_signals(const uint64_t *saved) {
  (void)raw_call4(SYS_rt_sigprocmask, SIG_SETMASK, (long)saved, 0, sizeof *saved);
}
