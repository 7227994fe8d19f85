/*
 * Which paths are the host's. Most are told foreign by one look at the first letter; what remains is
 * normalised in a slot's window (no room for that on a small stack) and compared with the prefixes.
 */
#include "shim.h"

#include <fcntl.h>
#include <string.h>

/* The first letters of served paths, folded to six bits. Until the host has named its prefixes these. */
#define LETTER(letter) (1ull << ((letter) & 63))
static _Atomic uint64_t first_letters = LETTER('d') | LETTER('p') | LETTER('s');

/* Is the working directory worth a look? process << 1 | answer, since a vfork child has its own; 0: unknown. */
static _Atomic uint64_t working_directory;

void path_forget_working_directory(void) { atomic_store(&working_directory, 0); }

void path_learn(const struct viaduct_channel *channel) {
  uint64_t letters = 0;
  for (const char *prefix = channel->prefixes; *prefix; prefix += strlen(prefix) + 1) letters |= LETTER(prefix[1]);
  atomic_fetch_or(&first_letters, letters);
  path_forget_working_directory();
}

static bool leads_to_tree(const char *absolute) {
  const struct viaduct_channel *channel = channel_if_made();
  if (!channel || !channel->tree[0]) return false;
  size_t length = strlen(absolute), tree = strnlen(channel->tree, sizeof channel->tree);
  return memcmp(absolute, channel->tree, length < tree ? length : tree) == 0;
}

static bool starts_interesting(const char *absolute) {
  while (absolute[1] == '/' || (absolute[1] == '.' && absolute[2] == '/')) absolute++;
  return atomic_load_explicit(&first_letters, memory_order_relaxed) & LETTER(absolute[1]) || leads_to_tree(absolute);
}

static bool climbs(const char *path) {
  for (const char *dots = path; (dots = strstr(dots, "..")); dots += 2)
    if ((dots == path || dots[-1] == '/') && (dots[2] == '/' || dots[2] == 0)) return true;
  return false;
}

/* The kernel's name of a directory: /proc/self/cwd or /proc/self/fd/N, into the buffer; its length or -errno. */
static long directory_name(int directory, char *buffer, size_t capacity) {
  if (directory == AT_FDCWD) return raw_readlink("/proc/self/cwd", buffer, capacity);
  char link[32] = "/proc/self/fd/", digits[12];
  if (directory < 0) return -EBADF;
  size_t count = 0, length = strlen(link);
  do digits[count++] = (char)('0' + directory % 10);
  while (directory /= 10);
  while (count) link[length++] = digits[--count];
  return raw_readlink(link, buffer, capacity);
}

/* The root is, being above everything served. Only the beginning of the name is needed. */
static bool directory_is_interesting(int directory) {
  char name[64] = {0};
  long length = directory_name(directory, name, sizeof name - 1);
  if (length <= 0 || name[0] != '/') return false;
  name[length] = 0;
  return length == 1 || starts_interesting(name);
}

static bool working_directory_is_interesting(void) {
  uint64_t owner = (uint64_t)(uint32_t)raw_getpid() << 1;
  uint64_t known = atomic_load(&working_directory);
  if ((known | 1) == (owner | 1)) return known & 1;
  known = owner | directory_is_interesting(AT_FDCWD);
  atomic_store(&working_directory, known);
  return known & 1;
}

static bool may_be_served(int directory, const char *path) {
  if (climbs(path)) return true;
  if (path[0] == '/') return starts_interesting(path);
  return directory == AT_FDCWD ? working_directory_is_interesting() : directory_is_interesting(directory);
}

void path_strip_tree(const struct viaduct_channel *channel, char *path) {
  size_t length = strnlen(channel->tree, sizeof channel->tree);
  if (length == 0 || strncmp(path, channel->tree, length) != 0) return;
  if (path[length] == '/')
    memmove(path, path + length, strlen(path + length) + 1);
  else if (path[length] == 0)
    memcpy(path, "/", 2);
}

static bool matches(const char *prefix, const char *path) {
  for (; *prefix; prefix++) {
    if (*prefix == '*') {
      if (*path == 0 || *path == '/') return false;
      path += strcspn(path, "/");
    } else if (prefix[0] == '/' && prefix[1] == 0) {
      return *path == '/' || *path == 0; /* the directory itself too */
    } else if (*prefix != *path++) {
      return false;
    }
  }
  return *path == 0;
}

static bool is_served(const struct viaduct_channel *channel, const char *path) {
  for (const char *prefix = channel->prefixes; *prefix; prefix += strlen(prefix) + 1)
    if (matches(prefix, path)) return true;
  return false;
}

/*
 * Appends the components of a path to a normalised one ("" is the root). True when a climb left a served
 * directory, of which the real file system knows nothing: such a path can only be used normalised.
 */
static bool append(const struct viaduct_channel *channel, char *name, size_t *length, const char *path) {
  bool leaves_served = false;
  while (*path) {
    size_t count = strcspn(path, "/");
    if (count == 2 && path[0] == '.' && path[1] == '.') {
      name[*length] = 0;
      leaves_served = leaves_served || is_served(channel, name);
      while (*length && name[--*length] != '/') continue;
    } else if (count != 0 && !(count == 1 && path[0] == '.')) {
      if (*length + count + 3 > VIADUCT_WINDOW_BYTES) break; /* another thread made it longer meanwhile */
      name[(*length)++] = '/';
      memcpy(name + *length, path, count);
      *length += count;
    }
    path += count + (path[count] == '/');
  }
  memcpy(name + *length, "/", 2); /* the root keeps its slash */
  if (*length) name[*length] = 0;
  return leaves_served;
}

enum whose path_normalise(const struct viaduct_channel *channel, char *name, int directory, const char *path) {
  size_t length = 0;
  if (path[0] != '/') {
    long count = directory_name(directory, name, VIADUCT_WINDOW_BYTES - 1);
    if (count <= 0 || name[0] != '/') return PATH_FOREIGN;
    name[count] = 0;
    path_strip_tree(channel, name);
    length = name[1] ? strlen(name) : 0;
  }
  if (length + strlen(path) + 2 > VIADUCT_WINDOW_BYTES) return PATH_FOREIGN;
  bool leaves_served = append(channel, name, &length, path);
  path_strip_tree(channel, name);
  return is_served(channel, name) ? PATH_SERVED : leaves_served ? PATH_LEAVES_SERVED : PATH_FOREIGN;
}

/* A final slash follows a final symbolic link; the normalised name has lost it. */
static void add_slash(char *name) {
  size_t length = strnlen(name, VIADUCT_WINDOW_BYTES);
  if (length + 1 < VIADUCT_WINDOW_BYTES) memcpy(name + length, "/", 2);
}

bool path_ask(struct path_answer *answer, uint32_t operation, int directory, const char *path, uint64_t first,
              uint64_t second) {
  if (!viaduct_state || !path) return false;
  long length = guard_string_length(path, VIADUCT_WINDOW_BYTES);
  if (length <= 0 || length == VIADUCT_WINDOW_BYTES || !may_be_served(directory, path)) return false;
  struct viaduct_channel *channel = channel_get();
  struct viaduct_slot *slot = channel ? slot_claim(channel, operation) : NULL;
  if (!slot) return false;
  *answer = (struct path_answer){.slot = slot};
  enum whose whose = path_normalise(channel, (char *)slot->window, directory, path);
  if (whose == PATH_SERVED) {
    slot->argument[0] = first;
    slot->argument[1] = second;
    answer->result = slot_call(slot);
  }
  if (whose == PATH_FOREIGN || slot->action & VIADUCT_PASS) {
    slot_release(slot);
    return false;
  }
  if (whose == PATH_LEAVES_SERVED || slot->action & VIADUCT_REDIRECT) {
    if (path[length - 1] == '/') add_slash((char *)slot->window);
    answer->redirected = (const char *)slot->window;
  }
  return true;
}

void path_done(struct path_answer *answer) { slot_release(answer->slot); }
