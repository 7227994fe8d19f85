/* What a file is, without opening it: stat, access, links, and the working directory. */
#include "shim.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

extern void __chk_fail(void) __attribute__((noreturn));

#define BLOCK_BYTES 4096

static struct stat as_stat(const struct viaduct_status *status) {
  return (struct stat){.st_dev = status->device,
                       .st_ino = status->inode,
                       .st_rdev = status->special,
                       .st_mode = status->mode,
                       .st_nlink = status->links,
                       .st_uid = status->user,
                       .st_gid = status->group,
                       .st_size = (off_t)status->size,
                       .st_blksize = BLOCK_BYTES};
}

static struct statx as_statx(const struct viaduct_status *status) {
  return (struct statx){.stx_mask = STATX_BASIC_STATS,
                        .stx_blksize = BLOCK_BYTES,
                        .stx_nlink = status->links,
                        .stx_uid = status->user,
                        .stx_gid = status->group,
                        .stx_mode = (uint16_t)status->mode,
                        .stx_ino = status->inode,
                        .stx_size = status->size,
                        .stx_rdev_major = major(status->special),
                        .stx_rdev_minor = minor(status->special),
                        .stx_dev_major = major(status->device),
                        .stx_dev_minor = minor(status->device)};
}

/* The answer's status, by copy, since the window belongs to the host as well. */
static struct viaduct_status status_in(const struct viaduct_slot *slot) {
  struct viaduct_status status;
  memcpy(&status, slot->window, sizeof status);
  return status;
}

/* A descriptor's status. False: make the real call. */
static bool descriptor_status(int descriptor, struct viaduct_status *status, long *result) {
  if (!descriptor_maybe_ours(descriptor)) return false;
  struct viaduct_slot *slot = descriptor_slot(descriptor, VIADUCT_FSTAT);
  if (!slot) return false;
  *result = slot_call(slot);
  bool ours = !(slot->action & VIADUCT_PASS);
  *status = status_in(slot);
  slot_release(slot);
  return ours;
}

static bool names_descriptor(const char *path, int flags) {
  return (flags & AT_EMPTY_PATH) && (!path || guard_string_length(path, 1) == 0);
}

static long store(const void *source, void *target, size_t count, long result) {
  if (result < 0) return result;
  return guard_copy(target, source, count) == 0 ? 0 : -EFAULT;
}

enum outcome { NOT_OURS, ELSEWHERE, OURS };

/* ELSEWHERE: the caller makes the real call on the redirected path, then path_done. OURS: the result counts. */
static enum outcome look_up(int directory, const char *path, int flags, struct path_answer *answer,
                            struct viaduct_status *status) {
  if (names_descriptor(path, flags)) return descriptor_status(directory, status, &answer->result) ? OURS : NOT_OURS;
  uint64_t keep_link = (flags & AT_SYMLINK_NOFOLLOW) != 0;
  if (!path_ask(answer, VIADUCT_STAT, directory, path, keep_link, 0)) return NOT_OURS;
  if (answer->redirected) return ELSEWHERE;
  *status = status_in(answer->slot);
  path_done(answer);
  return OURS;
}

static int stat_any(int directory, const char *path, struct stat *target, int flags) {
  struct viaduct_status status;
  struct path_answer answer;
  switch (look_up(directory, path, flags, &answer, &status)) {
    case NOT_OURS: return REAL(fstatat)(directory, path, target, flags);
    case ELSEWHERE: {
      int result = REAL(fstatat)(AT_FDCWD, answer.redirected, target, flags);
      path_done(&answer);
      return result;
    }
    case OURS: break;
  }
  struct stat converted = as_stat(&status);
  return (int)finish(store(&converted, target, sizeof converted, answer.result));
}

EXPORT int stat(const char *path, struct stat *target) { return stat_any(AT_FDCWD, path, target, 0); }
EXPORT int lstat(const char *path, struct stat *target) {
  return stat_any(AT_FDCWD, path, target, AT_SYMLINK_NOFOLLOW);
}
EXPORT int fstatat(int directory, const char *path, struct stat *target, int flags) {
  return stat_any(directory, path, target, flags);
}

EXPORT int fstat(int descriptor, struct stat *target) {
  struct viaduct_status status;
  long result;
  if (!descriptor_status(descriptor, &status, &result))
    return REAL(fstat)(descriptor, target);
  struct stat converted = as_stat(&status);
  return (int)finish(store(&converted, target, sizeof converted, result));
}

/* Programs built before glibc 2.33 call these; the version they pass is that of the same structure. */
EXPORT int __xstat(int version, const char *path, struct stat *target) {
  (void)version;
  return stat(path, target);
}
EXPORT int __lxstat(int version, const char *path, struct stat *target) {
  (void)version;
  return lstat(path, target);
}
EXPORT int __fxstat(int version, int descriptor, struct stat *target) {
  (void)version;
  return fstat(descriptor, target);
}
EXPORT int __fxstatat(int version, int directory, const char *path, struct stat *target, int flags) {
  (void)version;
  return fstatat(directory, path, target, flags);
}

EXPORT int stat64(const char *path, struct stat64 *target) __attribute__((alias("stat")));
EXPORT int lstat64(const char *path, struct stat64 *target) __attribute__((alias("lstat")));
EXPORT int fstat64(int descriptor, struct stat64 *target) __attribute__((alias("fstat")));
EXPORT int fstatat64(int directory, const char *path, struct stat64 *target, int flags)
    __attribute__((alias("fstatat")));
EXPORT int __xstat64(int version, const char *path, struct stat64 *target) __attribute__((alias("__xstat")));
EXPORT int __lxstat64(int version, const char *path, struct stat64 *target) __attribute__((alias("__lxstat")));
EXPORT int __fxstat64(int version, int descriptor, struct stat64 *target) __attribute__((alias("__fxstat")));
EXPORT int __fxstatat64(int version, int directory, const char *path, struct stat64 *target, int flags)
    __attribute__((alias("__fxstatat")));

EXPORT int statx(int directory, const char *path, int flags, unsigned mask, struct statx *target) {
  struct viaduct_status status;
  struct path_answer answer;
  switch (look_up(directory, path, flags, &answer, &status)) {
    case NOT_OURS: return REAL(statx)(directory, path, flags, mask, target);
    case ELSEWHERE: {
      int result = REAL(statx)(AT_FDCWD, answer.redirected, flags, mask, target);
      path_done(&answer);
      return result;
    }
    case OURS: break;
  }
  struct statx converted = as_statx(&status);
  return (int)finish(store(&converted, target, sizeof converted, answer.result));
}

static bool in_group(gid_t group, gid_t own) {
  gid_t groups[64];
  int count = getgroups(sizeof groups / sizeof *groups, groups);
  while (count > 0)
    if (groups[--count] == group) return true;
  return group == own;
}

static long judge_access(const struct viaduct_status *status, int mode, bool effective) {
  uid_t user = effective ? geteuid() : getuid();
  unsigned allowed = status->mode;
  if (user == 0)
    allowed = R_OK | W_OK | ((status->mode & 0111) ? X_OK : 0);
  else if (user == status->user)
    allowed >>= 6;
  else if (in_group(status->group, effective ? getegid() : getgid()))
    allowed >>= 3;
  return (unsigned)mode & 7 & ~allowed ? -EACCES : 0;
}

static int access_any(int directory, const char *path, int mode, int flags) {
  struct viaduct_status status;
  struct path_answer answer;
  switch (look_up(directory, path, flags, &answer, &status)) {
    case NOT_OURS: return REAL(faccessat)(directory, path, mode, flags);
    case ELSEWHERE: {
      int result = REAL(faccessat)(AT_FDCWD, answer.redirected, mode, flags);
      path_done(&answer);
      return result;
    }
    case OURS: break;
  }
  return (int)finish(answer.result < 0 ? answer.result : judge_access(&status, mode, flags & AT_EACCESS));
}

EXPORT int access(const char *path, int mode) { return access_any(AT_FDCWD, path, mode, 0); }
EXPORT int faccessat(int directory, const char *path, int mode, int flags) {
  return access_any(directory, path, mode, flags);
}
EXPORT int euidaccess(const char *path, int mode) { return access_any(AT_FDCWD, path, mode, AT_EACCESS); }
EXPORT int eaccess(const char *path, int mode) __attribute__((alias("euidaccess")));

EXPORT ssize_t readlinkat(int directory, const char *path, char *buffer, size_t count) {
  struct path_answer answer;
  if (!path_ask(&answer, VIADUCT_READLINK, directory, path, 0, 0))
    return REAL(readlinkat)(directory, path, buffer, count);
  ssize_t result =
      answer.redirected ? REAL(readlinkat)(AT_FDCWD, answer.redirected, buffer, count) : finish(answer.result);
  path_done(&answer);
  return result;
}

EXPORT ssize_t readlink(const char *path, char *buffer, size_t count) {
  return readlinkat(AT_FDCWD, path, buffer, count);
}
EXPORT ssize_t __readlink_chk(const char *path, char *buffer, size_t count, size_t room) {
  if (count > room) __chk_fail();
  return readlink(path, buffer, count);
}
EXPORT ssize_t __readlinkat_chk(int directory, const char *path, char *buffer, size_t count, size_t room) {
  if (count > room) __chk_fail();
  return readlinkat(directory, path, buffer, count);
}

_Static_assert(PATH_MAX >= VIADUCT_WINDOW_BYTES, "a resolved path holds a window's");

EXPORT char *realpath(const char *path, char *resolved) {
  struct path_answer answer;
  char *result = NULL;
  if (!path_ask(&answer, VIADUCT_STAT, AT_FDCWD, path, 0, 0)) {
    result = REAL(realpath)(path, resolved);
  } else {
    if (answer.redirected) {
      result = REAL(realpath)(answer.redirected, resolved);
    } else if (answer.result < 0) {
      errno = (int)-answer.result;
    } else { /* without a place on disk, it is called by its normalised name */
      result = resolved ? resolved : malloc(PATH_MAX);
      if (result) (void)path_normalise(channel_if_made(), result, AT_FDCWD, path);
    }
    path_done(&answer);
  }
  if (result && channel_if_made()) path_strip_tree(channel_if_made(), result);
  return result;
}

EXPORT char *__realpath_chk(const char *path, char *resolved, size_t room) {
  if (room < PATH_MAX) __chk_fail();
  return realpath(path, resolved);
}

EXPORT char *canonicalize_file_name(const char *path) { return realpath(path, NULL); }

EXPORT int chdir(const char *path) {
  struct path_answer answer;
  int result;
  if (!path_ask(&answer, VIADUCT_STAT, AT_FDCWD, path, 0, 0)) {
    result = REAL(chdir)(path);
  } else {
    if (answer.redirected)
      result = REAL(chdir)(answer.redirected);
    else
      result = (int)finish(answer.result < 0 ? answer.result : -ENOTDIR);
    path_done(&answer);
  }
  path_forget_working_directory();
  return result;
}

EXPORT int fchdir(int directory) {
  int result = REAL(fchdir)(directory);
  path_forget_working_directory();
  return result;
}
