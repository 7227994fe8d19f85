#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "CHost.h"

_Static_assert(HOST_READABLE == EPOLLIN, "names of the same bits");
_Static_assert(HOST_ENDED == (EPOLLERR | EPOLLHUP), "names of the same bits");
_Static_assert(sizeof(pthread_t) == sizeof(uint64_t), "a thread's name fits its box");

static int result_of(long result) { return result < 0 ? -errno : (int)result; }

int host_memfd(const char *name, uint64_t bytes) {
  int made = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (made < 0) return -errno;
  if (ftruncate(made, (off_t)bytes) == 0) return made;
  int error = errno;
  close(made);
  return -error;
}

int host_memfd_seal_size(int descriptor) {
  return result_of(fcntl(descriptor, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL));
}

int host_pidfd_open(int32_t process) { return result_of(syscall(SYS_pidfd_open, process, 0)); }

int host_pidfd_getfd(int pidfd, int32_t number) {
  return result_of(syscall(SYS_pidfd_getfd, pidfd, number, 0));
}

int host_open(const char *path, int flags) {
  return result_of(open(path, flags | O_CLOEXEC, 0600));
}

int host_reopen(int descriptor, int flags) {
  char path[40];
  snprintf(path, sizeof path, "/proc/self/fd/%d", descriptor);
  return host_open(path, flags);
}

int host_pipe(int ends[2]) { return result_of(pipe2(ends, O_CLOEXEC | O_NONBLOCK)); }

int host_eventfd(void) { return result_of(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)); }

int host_epoll(void) { return result_of(epoll_create1(EPOLL_CLOEXEC)); }

int host_epoll_add(int epoll, int descriptor, uint32_t events, uint64_t key) {
  struct epoll_event event = {.events = events, .data.u64 = key};
  return result_of(epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event));
}

int host_epoll_remove(int epoll, int descriptor) {
  return result_of(epoll_ctl(epoll, EPOLL_CTL_DEL, descriptor, NULL));
}

int host_epoll_wait(int epoll, struct host_event *events, int count, int milliseconds) {
  struct epoll_event found[32];
  int limit = count < 32 ? count : 32;
  int total = epoll_wait(epoll, found, limit, milliseconds);
  if (total < 0) return errno == EINTR ? 0 : -errno;
  for (int index = 0; index < total; index++)
    events[index] =
        (struct host_event){.events = found[index].events, .key = found[index].data.u64};
  return total;
}

uint32_t host_poll(int descriptor, uint32_t events) {
  struct pollfd one = {.fd = descriptor, .events = (short)events};
  return poll(&one, 1, 0) > 0 ? (uint32_t)(unsigned short)one.revents : 0;
}

int host_file_status(int descriptor, struct host_file_status *status) {
  struct stat found;
  struct statfs system;
  if (fstat(descriptor, &found) < 0 || fstatfs(descriptor, &system) < 0) return -errno;
  bool regular = S_ISREG(found.st_mode);
  *status = (struct host_file_status){.device = found.st_dev,
                                      .inode = found.st_ino,
                                      .byte_count = (uint64_t)found.st_size,
                                      .block_bytes = (uint64_t)found.st_blksize,
                                      .mode = found.st_mode,
                                      .is_memory = regular && system.f_type == TMPFS_MAGIC,
                                      .is_huge_memory = regular && system.f_type == HUGETLBFS_MAGIC,
                                      .is_path_only = (fcntl(descriptor, F_GETFL) & O_PATH) != 0};
  return 0;
}

/* A write lease is granted only while the caller's opening is the one opening for writing, and a
   mapping keeps the opening it was made through: so the kernel itself counts who still maps the
   pages. */
int host_is_sole_writer(int descriptor) {
  if (fcntl(descriptor, F_SETLEASE, F_WRLCK) == 0) {
    (void)fcntl(descriptor, F_SETLEASE, F_UNLCK);
    return 1;
  }
  return errno == EAGAIN ? 0 : -errno;
}

int host_random(void *bytes, size_t count) { return result_of(getrandom(bytes, count, 0)); }

uint64_t host_nanoseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int host_processor_count(void) {
  cpu_set_t set;
  return sched_getaffinity(0, sizeof set, &set) < 0 ? 1 : CPU_COUNT(&set);
}

int host_lock_limit(int32_t process, uint64_t *bytes) {
  struct rlimit limit;
  if (prlimit(process, RLIMIT_MEMLOCK, NULL, &limit) < 0) return -errno;
  *bytes = limit.rlim_cur == RLIM_INFINITY ? UINT64_MAX : limit.rlim_cur;
  return 0;
}

struct start {
  host_thread_body body;
  void *argument;
};

static void *thread_main(void *argument) {
  struct start start = *(struct start *)argument;
  free(argument);
  start.body(start.argument);
  return NULL;
}

int host_thread_start(host_thread_body body, void *argument, uint64_t *thread) {
  struct start *start = malloc(sizeof *start);
  if (start == NULL) return -ENOMEM;
  *start = (struct start){body, argument};
  sigset_t blocked, before;
  sigfillset(&blocked);
  static const int faults[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGABRT};
  for (size_t index = 0; index < sizeof faults / sizeof *faults; index++)
    sigdelset(&blocked, faults[index]);
  pthread_sigmask(SIG_SETMASK, &blocked, &before);
  pthread_t made;
  int error = pthread_create(&made, NULL, thread_main, start);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (error != 0) free(start);
  *thread = (uint64_t)made;
  return -error;
}

int host_thread_join(uint64_t thread, int milliseconds) {
  struct timespec until;
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_nsec += milliseconds * 1000000L;
  until.tv_sec += until.tv_nsec / 1000000000;
  until.tv_nsec %= 1000000000;
  return -pthread_timedjoin_np((pthread_t)thread, NULL, &until);
}
