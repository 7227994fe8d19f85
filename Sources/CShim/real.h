/* libc's own functions, which our wrappers hide. */
#ifndef VIADUCT_REAL_H
#define VIADUCT_REAL_H

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <unistd.h>

#define REAL_FUNCTIONS(APPLY)                                                                                         \
  APPLY(openat) APPLY(fopen) APPLY(freopen) APPLY(fclose) APPLY(opendir) APPLY(scandir)                               \
  APPLY(fstat) APPLY(fstatat) APPLY(statx)                                                                            \
  APPLY(faccessat) APPLY(readlinkat) APPLY(realpath)                                                                  \
  APPLY(close) APPLY(close_range) APPLY(closefrom) APPLY(dup) APPLY(dup2) APPLY(dup3) APPLY(fcntl)                    \
  APPLY(read) APPLY(readv) APPLY(pread) APPLY(preadv) APPLY(preadv2)                                                  \
  APPLY(write) APPLY(writev) APPLY(pwrite) APPLY(pwritev) APPLY(pwritev2)                                             \
  APPLY(ioctl) APPLY(recvmsg) APPLY(recvmmsg)                                                                         \
  APPLY(mmap) APPLY(munmap) APPLY(mremap) APPLY(madvise)                                                              \
  APPLY(execve) APPLY(execvpe) APPLY(fexecve) APPLY(execveat) APPLY(posix_spawn) APPLY(posix_spawnp)                  \
  APPLY(sigaction) APPLY(signal) APPLY(sigprocmask) APPLY(pthread_sigmask)                                            \
  APPLY(chdir) APPLY(fchdir) APPLY(getxattr) APPLY(lgetxattr) APPLY(listxattr) APPLY(llistxattr)

struct real_functions {
  bool resolved;
#define REAL_MEMBER(name) __typeof__(name) *name;
  REAL_FUNCTIONS(REAL_MEMBER)
#undef REAL_MEMBER
};

extern struct real_functions real_functions;
void real_resolve(void);

/* Another library's constructor may call us before our own has run. */
static inline const struct real_functions *real_get(void) {
  if (__builtin_expect(!real_functions.resolved, 0)) real_resolve();
  return &real_functions;
}

#define REAL(name) (real_get()->name)

#endif
