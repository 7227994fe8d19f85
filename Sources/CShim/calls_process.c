/* Starting programs: a client may clean the environment, but its children stay clients. */
#include "shim.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>

#define PRELOAD "LD_PRELOAD="
#define SOCKET VIADUCT_SOCKET_VARIABLE "="
#define STACK_BYTES 2048u

static const char *library;

void process_remember_library(void) {
  Dl_info info;
  if (dladdr((const void *)process_remember_library, &info)) library = info.dli_fname;
}

/* One program start; which of the calls it is decides what is used. */
struct launch {
  enum { EXECVE, EXECVPE, FEXECVE, EXECVEAT, SPAWN, SPAWNP } call;
  int descriptor, flags;
  const char *path;
  char *const *arguments;
  pid_t *child;
  const posix_spawn_file_actions_t *actions;
  const posix_spawnattr_t *attributes;
};

static int launch_with(const struct launch *launch, char *const *environment) {
  char *const *arguments = launch->arguments;
  switch (launch->call) {
    case EXECVE: return REAL(execve)(launch->path, arguments, environment);
    case EXECVPE: return REAL(execvpe)(launch->path, arguments, environment);
    case FEXECVE: return REAL(fexecve)(launch->descriptor, arguments, environment);
    case EXECVEAT: return REAL(execveat)(launch->descriptor, launch->path, arguments, environment, launch->flags);
    case SPAWN:
      return REAL(posix_spawn)(launch->child, launch->path, launch->actions, launch->attributes, arguments,
                               environment);
    case SPAWNP:
      return REAL(posix_spawnp)(launch->child, launch->path, launch->actions, launch->attributes, arguments,
                                environment);
  }
  __builtin_unreachable();
}

static char *find_variable(char *const *environment, const char *name, size_t *count) {
  char *found = NULL;
  for (*count = 0; environment && environment[*count]; ++*count)
    if (!found && strncmp(environment[*count], name, strlen(name)) == 0) found = environment[*count];
  return found;
}

/* Copies the environment into the room, with ours added: pointers first, the new strings behind them. */
static char **complete_environment(char *room, char *const *environment, const char *preload, bool lacks_socket,
                                   size_t count) {
  char **list = (char **)room;
  char *text = (char *)(list + count + 3);
  size_t used = 0;
  for (size_t index = 0; index < count; index++)
    if (environment[index] != preload) list[used++] = environment[index];
  list[used++] = text;
  text = stpcpy(stpcpy(text, PRELOAD), library);
  if (preload) text = stpcpy(stpcpy(text, ":"), preload + strlen(PRELOAD));
  if (lacks_socket) {
    list[used++] = ++text;
    (void)stpcpy(stpcpy(text, SOCKET), socket_path());
  }
  list[used] = NULL;
  return list;
}

static bool names_library(const char *preload) {
  return preload && strstr(preload + strlen(PRELOAD), library);
}

static int launch(const struct launch *launch, char *const *environment) {
  size_t count;
  if (!viaduct_state || !library) return launch_with(launch, environment);
  const char *preload = find_variable(environment, PRELOAD, &count);
  bool lacks_socket = !find_variable(environment, SOCKET, &count);
  if (names_library(preload) && !lacks_socket) return launch_with(launch, environment);

  size_t bytes = (count + 3) * sizeof(char *) + sizeof PRELOAD + strlen(library) + 1 + sizeof SOCKET +
                 strlen(socket_path()) + 1 + (preload ? strlen(preload) : 0);
  _Alignas(char *) char room[bytes <= STACK_BYTES ? bytes : 1];
  void *place = room;
  if (bytes > STACK_BYTES) {
    long mapped = raw_mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped < 0) return launch_with(launch, environment);
    place = (void *)mapped;
  }
  int result = launch_with(launch, complete_environment(place, environment, preload, lacks_socket, count));
  if (place != room) (void)raw_munmap(place, bytes);
  return result;
}

EXPORT int execve(const char *path, char *const arguments[], char *const environment[]) {
  return launch(&(struct launch){.call = EXECVE, .path = path, .arguments = arguments}, environment);
}
EXPORT int execv(const char *path, char *const arguments[]) { return execve(path, arguments, environ); }
EXPORT int execvpe(const char *name, char *const arguments[], char *const environment[]) {
  return launch(&(struct launch){.call = EXECVPE, .path = name, .arguments = arguments}, environment);
}
EXPORT int execvp(const char *name, char *const arguments[]) { return execvpe(name, arguments, environ); }
EXPORT int fexecve(int descriptor, char *const arguments[], char *const environment[]) {
  return launch(&(struct launch){.call = FEXECVE, .descriptor = descriptor, .arguments = arguments}, environment);
}
EXPORT int execveat(int directory, const char *path, char *const arguments[], char *const environment[], int flags) {
  struct launch how = {
      .call = EXECVEAT, .descriptor = directory, .flags = flags, .path = path, .arguments = arguments};
  return launch(&how, environment);
}

static size_t count_arguments(const char *first, va_list arguments) {
  size_t count = 0;
  for (; first; first = va_arg(arguments, char *)) count++;
  return count;
}

/* Defines `list`, the variadic arguments as an array, and leaves `rest` behind the ending null pointer. */
#define COLLECT_ARGUMENTS(first)                                                                                       \
  va_list rest;                                                                                                        \
  va_start(rest, first);                                                                                               \
  size_t count = count_arguments(first, rest);                                                                         \
  va_end(rest);                                                                                                        \
  char *list[count + 1];                                                                                               \
  list[0] = (char *)first;                                                                                             \
  va_start(rest, first);                                                                                               \
  for (size_t index = 1; index <= count; index++) list[index] = va_arg(rest, char *);

EXPORT int execl(const char *path, const char *first, ...) {
  COLLECT_ARGUMENTS(first)
  va_end(rest);
  return execve(path, list, environ);
}
EXPORT int execlp(const char *name, const char *first, ...) {
  COLLECT_ARGUMENTS(first)
  va_end(rest);
  return execvpe(name, list, environ);
}
EXPORT int execle(const char *path, const char *first, ...) {
  COLLECT_ARGUMENTS(first)
  char *const *environment = va_arg(rest, char *const *);
  va_end(rest);
  return execve(path, list, environment);
}

EXPORT int posix_spawn(pid_t *child, const char *path, const posix_spawn_file_actions_t *actions,
                       const posix_spawnattr_t *attributes, char *const arguments[], char *const environment[]) {
  struct launch how = {.call = SPAWN,
                       .path = path,
                       .arguments = arguments,
                       .child = child,
                       .actions = actions,
                       .attributes = attributes};
  return launch(&how, environment);
}
EXPORT int posix_spawnp(pid_t *child, const char *name, const posix_spawn_file_actions_t *actions,
                        const posix_spawnattr_t *attributes, char *const arguments[], char *const environment[]) {
  struct launch how = {.call = SPAWNP,
                       .path = name,
                       .arguments = arguments,
                       .child = child,
                       .actions = actions,
                       .attributes = attributes};
  return launch(&how, environment);
}
