/* Extended attributes, which `ls -l` asks of every file. Served files have none. */
#include "shim.h"

/* False: make the real call with `path`, which has become the redirected one if there is one. */
static bool has_none(struct path_answer *answer, const char **path, bool keep_link, long without, ssize_t *result) {
  *answer = (struct path_answer){0};
  if (!path_ask(answer, VIADUCT_STAT, AT_FDCWD, *path, keep_link, 0)) return false;
  if (answer->redirected) {
    *path = answer->redirected;
    return false;
  }
  *result = finish(answer->result < 0 ? answer->result : without);
  path_done(answer);
  return true;
}

static ssize_t get(__typeof__(getxattr) *real, bool keep_link, const char *path, const char *name, void *value,
                   size_t size) {
  struct path_answer answer;
  ssize_t result;
  if (has_none(&answer, &path, keep_link, -ENODATA, &result)) return result;
  result = real(path, name, value, size);
  if (answer.redirected) path_done(&answer);
  return result;
}

static ssize_t list(__typeof__(listxattr) *real, bool keep_link, const char *path, char *names, size_t size) {
  struct path_answer answer;
  ssize_t result;
  if (has_none(&answer, &path, keep_link, 0, &result)) return result;
  result = real(path, names, size);
  if (answer.redirected) path_done(&answer);
  return result;
}

EXPORT ssize_t getxattr(const char *path, const char *name, void *value, size_t size) {
  return get(REAL(getxattr), false, path, name, value, size);
}
EXPORT ssize_t lgetxattr(const char *path, const char *name, void *value, size_t size) {
  return get(REAL(lgetxattr), true, path, name, value, size);
}
EXPORT ssize_t listxattr(const char *path, char *names, size_t size) {
  return list(REAL(listxattr), false, path, names, size);
}
EXPORT ssize_t llistxattr(const char *path, char *names, size_t size) {
  return list(REAL(llistxattr), true, path, names, size);
}
