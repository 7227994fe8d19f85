#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <malloc.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <stdio.h>
#include <unistd.h>

#include "CHost.h"

extern char **environ;

static sigset_t mask_at_start;
static sigset_t defaults_at_start;

static void fill_taken(sigset_t *set) {
  static const int taken[] = {SIGCHLD, SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2};
  sigemptyset(set);
  for (size_t index = 0; index < sizeof taken / sizeof *taken; index++)
    sigaddset(set, taken[index]);
}

void host_use_one_heap(void) { mallopt(M_ARENA_MAX, 1); }

void host_take_signals(void) {
  sigset_t set;
  fill_taken(&set);
  sigprocmask(SIG_BLOCK, &set, &mask_at_start);
  /* Inherited as ignored, it would hide the end of the client. */
  signal(SIGCHLD, SIG_DFL);
  /* Clients may break a lease of ours, and readers of a trace may go; neither ends the host. */
  sigemptyset(&defaults_at_start);
  static const int ignored[] = {SIGIO, SIGPIPE};
  for (size_t index = 0; index < sizeof ignored / sizeof *ignored; index++)
    if (signal(ignored[index], SIG_IGN) == SIG_DFL) sigaddset(&defaults_at_start, ignored[index]);
}

int host_spawn(const char *path, char *const arguments[], int32_t *process) {
  posix_spawnattr_t attributes;
  int error = posix_spawnattr_init(&attributes);
  if (error != 0) return -error;
  posix_spawnattr_setsigmask(&attributes, &mask_at_start);
  posix_spawnattr_setsigdefault(&attributes, &defaults_at_start);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  pid_t made;
  error = posix_spawn(&made, path, NULL, &attributes, arguments, environ);
  posix_spawnattr_destroy(&attributes);
  if (error == 0) *process = made;
  return -error;
}

/* Each open file of a client takes a descriptor here. Not before a program is started: it would
   inherit the limit. */
static void raise_descriptor_limit(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

int host_supervise(int32_t process) {
  raise_descriptor_limit();
  sigset_t set;
  fill_taken(&set);
  for (;;) {
    siginfo_t information;
    int signal = sigwaitinfo(&set, &information);
    if (signal < 0) continue;
    int status;
    if (waitpid(process, &status, WNOHANG) == process) return status;
    /* What the terminal sends reaches the client by itself: it is in the same process group. */
    bool is_sent = information.si_code == SI_USER || information.si_code == SI_QUEUE;
    if (signal != SIGCHLD && is_sent && information.si_pid != process) kill(process, signal);
  }
}

int host_wait_for_end(void) {
  raise_descriptor_limit();
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGHUP);
  int signal = 0;
  while (sigwait(&set, &signal) != 0) continue;
  return signal;
}

void host_end_by(int number) {
  struct rlimit none = {0};
  setrlimit(RLIMIT_CORE, &none);
  signal(number, SIG_DFL);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, number);
  sigprocmask(SIG_UNBLOCK, &set, NULL);
  kill(getpid(), number);
  _exit(128 + number);
}

bool host_was_killed(int status, int *code) {
  bool killed = WIFSIGNALED(status);
  *code = killed ? WTERMSIG(status) : WEXITSTATUS(status);
  return killed;
}

static int try_memory(int32_t child, uint64_t *word, struct host_probe *probe) {
  char path[32];
  snprintf(path, sizeof path, "/proc/%d/mem", child);
  int memory = open(path, O_RDWR | O_CLOEXEC);
  if (memory < 0) return -errno;
  uint64_t value = 0;
  const size_t size = sizeof value;
  bool moved = pread(memory, &value, size, (off_t)word) == (ssize_t)size;
  probe->reads_memory = moved && value == 1;
  value = 2;
  moved = pwrite(memory, &value, size, (off_t)word) == (ssize_t)size;
  value = 0;
  moved = moved && pread(memory, &value, size, (off_t)word) == (ssize_t)size;
  probe->writes_memory = moved && value == 2;
  close(memory);
  return 0;
}

static int try_mappings(int32_t child) {
  char path[32];
  snprintf(path, sizeof path, "/proc/%d/maps", child);
  int maps = open(path, O_RDONLY | O_CLOEXEC);
  if (maps < 0) return -errno;
  struct viaduct_mapping mapping;
  int result = host_query_mapping(maps, 0, 0, &mapping);
  close(maps);
  return result == 0 ? 1 : result;
}

static int try_descriptors(int32_t child) {
  int pidfd = host_pidfd_open(child);
  if (pidfd < 0) return pidfd;
  int taken = host_pidfd_getfd(pidfd, STDIN_FILENO);
  close(pidfd);
  if (taken >= 0) close(taken);
  return taken >= 0 || taken == -EBADF ? 1 : taken;
}

static int try_peers(void) {
  int ends[2];
  if (host_socket_pair(ends) < 0) return 0;
  struct host_peer peer = {.pidfd = -1};
  int found = host_peer(ends[0], &peer) == 0 && peer.pidfd >= 0;
  if (peer.pidfd >= 0) close(peer.pidfd);
  close(ends[0]);
  close(ends[1]);
  return found;
}

void host_probe(struct host_probe *probe) {
  *probe = (struct host_probe){0};
  static uint64_t word = 1;
  pid_t child = fork();
  if (child < 0) return;
  if (child == 0)
    for (;;) pause();
  int error = try_memory(child, &word, probe);
  if (error < 0) probe->reads_memory = probe->writes_memory = error;
  probe->queries_mappings = try_mappings(child);
  probe->takes_descriptors = try_descriptors(child);
  probe->knows_peers = try_peers();
  kill(child, SIGKILL);
  waitpid(child, NULL, 0);
}

bool host_has_file_capabilities(const char *path) {
  return getxattr(path, "security.capability", NULL, 0) > 0;
}

bool host_is_memory_directory(const char *path) {
  struct statfs system;
  return statfs(path, &system) == 0 && system.f_type == TMPFS_MAGIC && access(path, W_OK) == 0;
}
