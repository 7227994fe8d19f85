#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "CHost.h"

/* Linux 6.11 and later: the argument of PROCMAP_QUERY on /proc/PID/maps. */
struct mapping_query {
  uint64_t size, query_flags, query_address;
  uint64_t start, end, flags, page_bytes, offset, inode;
  uint32_t device_major, device_minor, name_bytes, build_id_bytes;
  uint64_t name_address, build_id_address;
};
#define MAPPING_QUERY _IOWR('f', 17, struct mapping_query)
#define MAPPING_QUERY_OR_NEXT 0x10u
#define MAPPING_FLAGS 0xfu
#define SMALL_PAGE_BYTES 4096u

int host_query_mapping(
    int maps, uint64_t address, uint32_t filter, struct viaduct_mapping *mapping) {
  struct mapping_query query = {.size = sizeof query,
                                .query_flags = MAPPING_QUERY_OR_NEXT | (filter & MAPPING_FLAGS),
                                .query_address = address};
  if (ioctl(maps, MAPPING_QUERY, &query) < 0) return -errno;
  *mapping = (struct viaduct_mapping){.start = query.start,
                                      .end = query.end,
                                      .offset = query.offset,
                                      .inode = query.inode,
                                      .device_major = query.device_major,
                                      .device_minor = query.device_minor,
                                      .flags = (uint32_t)query.flags & MAPPING_FLAGS,
                                      .page_bytes = (uint32_t)query.page_bytes};
  return 0;
}

static int parse_line(const char *line, struct viaduct_mapping *mapping) {
  unsigned long long start, end, offset, inode;
  unsigned major, minor;
  char rights[5];
  int fields = sscanf(line, "%llx-%llx %4s %llx %x:%x %llu", &start, &end, rights, &offset, &major,
                      &minor, &inode);
  if (fields != 7) return -EIO;
  *mapping = (struct viaduct_mapping){.start = start,
                                      .end = end,
                                      .offset = offset,
                                      .inode = inode,
                                      .device_major = major,
                                      .device_minor = minor,
                                      .page_bytes = SMALL_PAGE_BYTES};
  static const char letters[] = "rwxs";
  for (unsigned bit = 0; bit < 4; bit++)
    mapping->flags |= (uint32_t)(rights[bit] == letters[bit]) << bit;
  return 0;
}

int host_scan_mapping(
    int maps, uint64_t address, uint32_t filter, struct viaduct_mapping *mapping) {
  char text[16384], line[128]; /* a line's beginning holds every field but the name */
  size_t length = 0;
  off_t position = 0;
  for (;;) {
    ssize_t count = pread(maps, text, sizeof text, position);
    if (count < 0) return -errno;
    if (count == 0) return position == 0 ? -ESRCH : -ENOENT;
    position += count;
    for (ssize_t index = 0; index < count; index++) {
      if (text[index] != '\n') {
        if (length < sizeof line - 1) line[length++] = text[index];
        continue;
      }
      line[length] = 0;
      length = 0;
      if (parse_line(line, mapping) < 0) return -EIO;
      if (mapping->end > address && (mapping->flags & filter) == filter) return 0;
    }
  }
}

static __thread sigjmp_buf *volatile guard;
static struct sigaction previous_action;

static void on_missing_page(int signal, siginfo_t *information, void *context) {
  sigjmp_buf *waiting = guard;
  if (waiting != NULL) {
    guard = NULL;
    siglongjmp(*waiting, 1);
  }
  if (previous_action.sa_flags & SA_SIGINFO) {
    previous_action.sa_sigaction(signal, information, context);
  } else if (previous_action.sa_handler != SIG_DFL && previous_action.sa_handler != SIG_IGN) {
    previous_action.sa_handler(signal);
  } else {
    sigaction(signal, &previous_action, NULL); /* the access repeats and ends the process */
  }
}

void host_guard_install(void) {
  static int installed;
  if (__atomic_exchange_n(&installed, 1, __ATOMIC_SEQ_CST)) return;
  struct sigaction action = {.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK};
  action.sa_sigaction = on_missing_page;
  sigemptyset(&action.sa_mask);
  sigaction(SIGBUS, &action, &previous_action);
}

int host_copy_guarded(void *destination, const void *source, size_t count) {
  sigjmp_buf here;
  if (sigsetjmp(here, 0) != 0) return -1;
  guard = &here;
  __asm__ volatile("" ::: "memory");
  memcpy(destination, source, count);
  __asm__ volatile("" ::: "memory");
  guard = NULL;
  return 0;
}
