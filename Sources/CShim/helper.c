/* A thread that reads and writes this process's memory for a host that may not. */
#include "shim.h"

#include <linux/ioctl.h>
#include <pthread.h>
#include <string.h>
#include <sys/sysmacros.h>

#define HELPER_STACK_BYTES 65536u

enum helper_operation { HELPER_READ = 1, HELPER_WRITE = 2, HELPER_MAPPING = 3 };

/* Linux 6.11 and later: the argument of PROCMAP_QUERY on /proc/PID/maps. */
struct mapping_query {
  uint64_t size, query_flags, query_address;
  uint64_t start, end, flags, page_bytes, offset, inode;
  uint32_t device_major, device_minor, name_bytes, build_id_bytes;
  uint64_t name_address, build_id_address;
};
#define MAPPING_QUERY _IOWR('f', 17, struct mapping_query)
#define MAPPING_QUERY_OR_NEXT 0x10u

static long query_mapping(int maps, uint64_t address, struct viaduct_mapping *answer) {
  struct mapping_query query = {
      .size = sizeof query, .query_flags = MAPPING_QUERY_OR_NEXT, .query_address = address};
  long result = raw_call3(SYS_ioctl, maps, (long)MAPPING_QUERY, (long)&query);
  if (result < 0) return result;
  *answer = (struct viaduct_mapping){.start = query.start,
                                     .end = query.end,
                                     .offset = query.offset,
                                     .inode = query.inode,
                                     .device_major = query.device_major,
                                     .device_minor = query.device_minor,
                                     .flags = (uint32_t)query.flags & 0xf,
                                     .page_bytes = (uint32_t)query.page_bytes};
  return 0;
}

static uint64_t parse_number(const char **text, unsigned base) {
  uint64_t value = 0;
  for (;; ++*text) {
    unsigned digit = (unsigned)(**text | 0x20);
    digit = digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : (unsigned)**text - '0';
    if (digit >= base) break;
    value = value * base + digit;
  }
  ++*text; /* the separator */
  return value;
}

/* "start-end rwxp offset major:minor inode name" */
static void parse_mapping(const char *line, struct viaduct_mapping *mapping) {
  static const char letters[] = "rwxs";
  mapping->start = parse_number(&line, 16);
  mapping->end = parse_number(&line, 16);
  mapping->flags = 0;
  for (unsigned bit = 0; bit < 4; bit++, line++) mapping->flags |= (uint32_t)(*line == letters[bit]) << bit;
  line++;
  mapping->offset = parse_number(&line, 16);
  mapping->device_major = (uint32_t)parse_number(&line, 16);
  mapping->device_minor = (uint32_t)parse_number(&line, 16);
  mapping->inode = parse_number(&line, 10);
  mapping->page_bytes = PAGE_BYTES;
}

/* Only a line's beginning matters: 128 bytes hold every field but the name. */
static long read_mapping(int maps, uint64_t address, struct viaduct_mapping *answer) {
  char text[1024] = {0}, line[128] = {0};
  size_t length = 0;
  for (;;) {
    long count = raw_read(maps, text, sizeof text);
    if (count <= 0) return count < 0 ? count : -ENOENT;
    for (long index = 0; index < count; index++) {
      if (text[index] != '\n') {
        if (length < sizeof line - 1) line[length++] = text[index];
        continue;
      }
      line[length] = 0;
      length = 0;
      parse_mapping(line, answer);
      if (answer->end > address) return 0;
    }
  }
}

static long find_mapping(uint64_t address, struct viaduct_mapping *answer) {
  long maps = raw_open("/proc/self/maps", O_RDONLY | O_CLOEXEC); /* not kept: we hold no descriptor */
  if (maps < 0) return maps;
  long result = query_mapping((int)maps, address, answer);
  if (result == -ENOTTY || result == -EINVAL) result = read_mapping((int)maps, address, answer);
  (void)raw_close((int)maps);
  return result;
}

static int64_t help(struct viaduct_channel *channel) {
  void *memory = (void *)channel->helper_address;
  uint32_t length = channel->helper_length;
  if (length > sizeof channel->helper_window) return -EINVAL;
  switch (channel->helper_operation) {
    case HELPER_READ: return (int64_t)(length - guard_copy(channel->helper_window, memory, length));
    case HELPER_WRITE: return (int64_t)(length - guard_copy(memory, channel->helper_window, length));
    case HELPER_MAPPING: {
      struct viaduct_mapping mapping;
      long result = find_mapping(channel->helper_address, &mapping);
      if (result == 0) memcpy(channel->helper_window, &mapping, sizeof mapping);
      return result;
    }
    default: return -EINVAL;
  }
}

static void *helper_main(void *argument) {
  struct viaduct_channel *channel = argument;
  while (!atomic_load(&channel->closed)) {
    uint32_t seen = atomic_load(&channel->helper_state);
    if (seen == VIADUCT_REQUESTED) {
      channel->helper_result = help(channel);
      atomic_store(&channel->helper_state, VIADUCT_ANSWERED);
      raw_futex_wake(&channel->helper_state);
    } else {
      struct timespec second = {.tv_sec = 1};
      (void)raw_futex_wait(&channel->helper_state, seen, &second);
    }
  }
  return NULL;
}

/* Called with signals blocked, which the thread inherits. */
void helper_start(struct viaduct_channel *channel) {
  pthread_attr_t attributes;
  pthread_t thread;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, HELPER_STACK_BYTES);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  (void)pthread_create(&thread, &attributes, helper_main, channel);
  pthread_attr_destroy(&attributes);
}
