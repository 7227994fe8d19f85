/*
 * System calls without libc: no errno, no cancellation, no wrapper of ours. Each returns the value or a
 * negated errno, as the kernel does.
 */
#ifndef VIADUCT_RAW_H
#define VIADUCT_RAW_H

#include <errno.h>
#include <linux/futex.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#if defined(__x86_64__)
static inline long raw_call6(long number, long a, long b, long c, long d, long e, long f) {
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  register long r9 __asm__("r9") = f;
  long result;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return result;
}
#else
static inline long raw_call6(long number, long a, long b, long c, long d, long e, long f) {
  int saved = errno;
  long result = syscall(number, a, b, c, d, e, f);
  if (result == -1) result = -errno;
  errno = saved;
  return result;
}
#endif

static inline long raw_call4(long number, long a, long b, long c, long d) {
  return raw_call6(number, a, b, c, d, 0, 0);
}
static inline long raw_call3(long number, long a, long b, long c) { return raw_call6(number, a, b, c, 0, 0, 0); }
static inline long raw_call1(long number, long a) { return raw_call6(number, a, 0, 0, 0, 0, 0); }
static inline long raw_call0(long number) { return raw_call6(number, 0, 0, 0, 0, 0, 0); }

static inline int32_t raw_getpid(void) { return (int32_t)raw_call0(SYS_getpid); }
static inline int32_t raw_getppid(void) { return (int32_t)raw_call0(SYS_getppid); }
static inline int32_t raw_gettid(void) { return (int32_t)raw_call0(SYS_gettid); }
static inline void raw_yield(void) { (void)raw_call0(SYS_sched_yield); }
static inline long raw_close(int descriptor) { return raw_call1(SYS_close, descriptor); }
static inline long raw_fstat(int descriptor, struct stat *status) {
  return raw_call3(SYS_fstat, descriptor, (long)status, 0);
}
static inline long raw_open(const char *path, int flags) {
  return raw_call4(SYS_openat, -100 /* AT_FDCWD */, (long)path, flags, 0);
}
static inline long raw_read(int descriptor, void *buffer, size_t count) {
  return raw_call3(SYS_read, descriptor, (long)buffer, (long)count);
}
static inline long raw_readlink(const char *path, char *buffer, size_t count) {
  return raw_call4(SYS_readlinkat, -100 /* AT_FDCWD */, (long)path, (long)buffer, (long)count);
}
static inline long raw_fcntl(int descriptor, int command, long argument) {
  return raw_call3(SYS_fcntl, descriptor, command, argument);
}
static inline long raw_mmap(void *address, size_t length, int protection, int flags, int descriptor, long offset) {
  return raw_call6(SYS_mmap, (long)address, (long)length, protection, flags, descriptor, offset);
}
static inline long raw_munmap(void *address, size_t length) {
  return raw_call3(SYS_munmap, (long)address, (long)length, 0);
}

/* The words lie in memory shared with the host: never FUTEX_PRIVATE_FLAG. */
static inline void raw_futex_wake(const volatile void *word) {
  (void)raw_call3(SYS_futex, (long)word, FUTEX_WAKE, INT32_MAX);
}
static inline long raw_futex_wait(const volatile void *word, uint32_t value, const struct timespec *timeout) {
  return raw_call4(SYS_futex, (long)word, FUTEX_WAIT, value, (long)timeout);
}

#endif
