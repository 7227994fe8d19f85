/* Opening: descriptors, streams, directories. */
#include "shim.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

extern void __chk_fail(void) __attribute__((noreturn)); /* libc's answer to a buffer that is too small */

bool open_served(int directory, const char *path, int flags, mode_t mode, int *result) {
  struct path_answer answer;
  if (!path_ask(&answer, VIADUCT_OPEN, directory, path, (uint64_t)flags, mode)) return false;
  if (answer.redirected) {
    *result = REAL(openat)(AT_FDCWD, answer.redirected, flags, mode);
  } else if (answer.slot->action & VIADUCT_DESCRIPTOR) {
    long descriptor = slot_descriptor(answer.slot, answer.slot->value[3] & 1);
    if (descriptor >= 0) descriptor_note_new((int)descriptor);
    *result = (int)finish(descriptor);
  } else {
    *result = (int)finish(answer.result);
  }
  path_done(&answer);
  return true;
}

static bool takes_mode(int flags) { return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE; }

static int open_any(int directory, const char *path, int flags, mode_t mode) {
  int result;
  return open_served(directory, path, flags, mode, &result) ? result : REAL(openat)(directory, path, flags, mode);
}

#define MODE_ARGUMENT(flags, mode)                                                                                     \
  mode_t mode = 0;                                                                                                     \
  if (takes_mode(flags)) {                                                                                             \
    va_list arguments;                                                                                                 \
    va_start(arguments, flags);                                                                                        \
    mode = va_arg(arguments, mode_t);                                                                                  \
    va_end(arguments);                                                                                                 \
  }

EXPORT int open(const char *path, int flags, ...) {
  MODE_ARGUMENT(flags, mode)
  return open_any(AT_FDCWD, path, flags, mode);
}

EXPORT int openat(int directory, const char *path, int flags, ...) {
  MODE_ARGUMENT(flags, mode)
  return open_any(directory, path, flags, mode);
}

EXPORT int creat(const char *path, mode_t mode) {
  return open_any(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, mode);
}

EXPORT int __open_2(const char *path, int flags) {
  if (takes_mode(flags)) __chk_fail();
  return open_any(AT_FDCWD, path, flags, 0);
}

EXPORT int __openat_2(int directory, const char *path, int flags) {
  if (takes_mode(flags)) __chk_fail();
  return open_any(directory, path, flags, 0);
}

EXPORT int open64(const char *path, int flags, ...) __attribute__((alias("open")));
EXPORT int openat64(int directory, const char *path, int flags, ...) __attribute__((alias("openat")));
EXPORT int creat64(const char *path, mode_t mode) __attribute__((alias("creat")));
EXPORT int __open64_2(const char *path, int flags) __attribute__((alias("__open_2")));
EXPORT int __openat64_2(int directory, const char *path, int flags) __attribute__((alias("__openat_2")));

/* -1: not a mode; fopen itself will say so. */
static int stream_flags(const char *mode) {
  int flags;
  switch (mode[0]) {
    case 'r': flags = O_RDONLY; break;
    case 'w': flags = O_WRONLY | O_CREAT | O_TRUNC; break;
    case 'a': flags = O_WRONLY | O_CREAT | O_APPEND; break;
    default: return -1;
  }
  for (mode++; *mode && *mode != ','; mode++) {
    if (*mode == '+') flags = (flags & ~O_ACCMODE) | O_RDWR;
    if (*mode == 'x') flags |= O_EXCL;
    if (*mode == 'e') flags |= O_CLOEXEC;
  }
  return flags;
}

/* False: not served. Otherwise the open descriptor, or -1 with errno. */
static bool open_for_stream(const char *path, const char *mode, int *descriptor) {
  int flags = stream_flags(mode);
  return flags >= 0 && open_served(AT_FDCWD, path, flags, 0666, descriptor);
}

/* A stream on a served file of text. libc would read and write its descriptor out of our sight. */
struct text_stream {
  int descriptor;
  off64_t position;
};

static ssize_t text_read(void *cookie, char *buffer, size_t count) {
  struct text_stream *text = cookie;
  ssize_t result = pread(text->descriptor, buffer, count, text->position);
  if (result > 0) text->position += result;
  return result;
}

static ssize_t text_write(void *cookie, const char *buffer, size_t count) {
  struct text_stream *text = cookie;
  ssize_t result = write(text->descriptor, buffer, count);
  if (result <= 0) return 0; /* what fopencookie takes for an error */
  text->position += result;
  return result;
}

/* The end is unknown until it is read. */
static int text_seek(void *cookie, off64_t *offset, int origin) {
  struct text_stream *text = cookie;
  off64_t position = origin == SEEK_CUR ? text->position + *offset : *offset;
  if (origin == SEEK_END || position < 0) {
    errno = EINVAL;
    return -1;
  }
  *offset = text->position = position;
  return 0;
}

static int text_close(void *cookie) {
  struct text_stream *text = cookie;
  int result = close(text->descriptor);
  free(text);
  return result;
}

static FILE *stream_on(int descriptor, const char *mode) {
  struct stat status;
  struct file_identity identity;
  if (!descriptor_confirm(descriptor, &identity) || fstat(descriptor, &status) < 0 || !S_ISREG(status.st_mode))
    return fdopen(descriptor, mode);
  struct text_stream *text = malloc(sizeof *text);
  if (!text) return NULL;
  *text = (struct text_stream){.descriptor = descriptor};
  cookie_io_functions_t functions = {.read = text_read, .write = text_write, .seek = text_seek, .close = text_close};
  FILE *stream = fopencookie(text, mode, functions);
  if (!stream) free(text);
  return stream;
}

EXPORT FILE *fopen(const char *path, const char *mode) {
  int descriptor;
  if (!open_for_stream(path, mode, &descriptor)) return REAL(fopen)(path, mode);
  if (descriptor < 0) return NULL;
  FILE *stream = stream_on(descriptor, mode);
  if (!stream) (void)close(descriptor);
  return stream;
}

/* libc reopens in place; so a harmless file takes the stream over, and gives way to ours. */
EXPORT FILE *freopen(const char *path, const char *mode, FILE *stream) {
  int descriptor;
  if (!path || !open_for_stream(path, mode, &descriptor)) return REAL(freopen)(path, mode, stream);
  int error = errno;
  FILE *result = descriptor < 0 ? NULL : REAL(freopen)("/dev/null", mode, stream);
  if (!result) {
    if (descriptor >= 0) (void)close(descriptor);
    (void)fclose(stream);
    errno = error;
    return NULL;
  }
  (void)dup3(descriptor, fileno(result), stream_flags(mode) & O_CLOEXEC);
  (void)close(descriptor);
  return result;
}

EXPORT FILE *fopen64(const char *path, const char *mode) __attribute__((alias("fopen")));
EXPORT FILE *freopen64(const char *path, const char *mode, FILE *stream) __attribute__((alias("freopen")));

/* libc closes the descriptor out of our sight. */
EXPORT int fclose(FILE *stream) {
  struct file_identity identity;
  int descriptor = viaduct_state && stream ? fileno_unlocked(stream) : -1;
  if (!descriptor_maybe_ours(descriptor) || !descriptor_confirm(descriptor, &identity)) return REAL(fclose)(stream);
  descriptor_forget(descriptor);
  int result = REAL(fclose)(stream);
  int error = errno;
  descriptor_report_closed(&identity);
  errno = error;
  return result;
}

EXPORT DIR *opendir(const char *path) {
  struct path_answer answer;
  if (!path_ask(&answer, VIADUCT_STAT, AT_FDCWD, path, 0, 0)) return REAL(opendir)(path);
  DIR *result = NULL;
  if (answer.redirected)
    result = REAL(opendir)(answer.redirected);
  else
    errno = answer.result < 0 ? (int)-answer.result : ENOTDIR;
  path_done(&answer);
  return result;
}

EXPORT int scandir(const char *path, struct dirent ***names, int (*filter)(const struct dirent *),
                   int (*compare)(const struct dirent **, const struct dirent **)) {
  struct path_answer answer;
  if (!path_ask(&answer, VIADUCT_STAT, AT_FDCWD, path, 0, 0)) return REAL(scandir)(path, names, filter, compare);
  int result = -1;
  if (answer.redirected)
    result = REAL(scandir)(answer.redirected, names, filter, compare);
  else
    errno = answer.result < 0 ? (int)-answer.result : ENOTDIR;
  path_done(&answer);
  return result;
}

EXPORT int scandir64(const char *path, struct dirent64 ***names, int (*filter)(const struct dirent64 *),
                     int (*compare)(const struct dirent64 **, const struct dirent64 **))
    __attribute__((alias("scandir")));
