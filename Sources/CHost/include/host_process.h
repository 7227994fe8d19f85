/* Starting and watching the client of `viaduct run`, and finding out what this system permits. */
#ifndef HOST_PROCESS_H
#define HOST_PROCESS_H

#include <stdbool.h>
#include <stdint.h>

/* Blocks the signals that host_supervise and host_wait_for_end take. Before any thread is started.
   */
void host_take_signals(void);

/* Keeps all memory in one heap: calls come one at a time, so that a heap for each thread would only
   hold on to what the largest client of each once needed. Before any thread is started. */
void host_use_one_heap(void);

/* Starts a program with this process's environment and the signal mask it had at the start; the
   error is negated. */
int host_spawn(const char *path, char *const arguments[], int32_t *process);

/* Waits for the end of a child; meanwhile signals that were sent to this process alone are passed
   on. The wait status. */
int host_supervise(int32_t process);

/* Waits for SIGINT, SIGTERM or SIGHUP; the signal. */
int host_wait_for_end(void);

/* Ends this process by a signal, without a core dump of its own. */
void host_end_by(int signal) __attribute__((noreturn));

/* How a program ended: its exit status, or the signal that ended it. */
bool host_was_killed(int status, int *code);

/* What the host may do to a child that it has forked: 1, 0, or a negated errno where that says
   more. */
struct host_probe {
  int reads_memory, writes_memory, queries_mappings, takes_descriptors, knows_peers;
};
void host_probe(struct host_probe *probe);

bool host_has_file_capabilities(const char *path);
bool host_is_memory_directory(const char *path);

#endif
