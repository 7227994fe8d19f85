/* The host's side of the channel. Everything the client can write is read once, into plain
   structures. */
#ifndef HOST_CHANNEL_H
#define HOST_CHANNEL_H

#include <stdbool.h>
#include <stdint.h>

#include "viaduct_channel.h"

struct host_request {
  uint32_t operation;
  int32_t thread, process;
  uint32_t window_readable, window_writable;
  uint64_t file_device, file_inode;
  uint64_t argument0, argument1, argument2, argument3, argument4, argument5;
  uint64_t window_address;
};

struct host_extent {
  uint32_t offset, length;
};

struct host_answer {
  uint32_t action;
  uint32_t write_count;
  int64_t result;
  uint64_t value0, value1, value2, value3;
  struct host_extent writes[VIADUCT_WRITES];
};

void *host_channel_map(int descriptor);
void host_channel_unmap(void *channel);
uint64_t host_channel_bytes(void);
void host_channel_prepare(void *channel, int32_t host_process, bool helper_required);
/* Appends to the prefixes at `used`; the new length, or -1 when there is no room. */
int host_channel_add_prefix(void *channel, int used, const char *prefix);
bool host_channel_set_tree(void *channel, const char *path);

/* Takes the pending requests: spins for up to `spin_nanoseconds`, then returns 0 or a set of slots.
   */
uint64_t host_channel_take(void *channel, uint64_t spin_nanoseconds);
/* Sleeps until a request is rung or host_channel_ring is called. `stop` is checked after the
   doorbell is read. */
void host_channel_sleep(void *channel, const uint32_t *stop);
void host_channel_ring(void *channel);
void host_channel_close(void *channel);
void host_channel_set_pinned(void *channel, uint64_t low, uint64_t high);

/* Copies the request out of a slot; false when the slot holds none. */
bool host_slot_take(void *channel, uint32_t slot, struct host_request *request);
/* The slot's window; its bytes change under the reader's hands. */
uint8_t *host_slot_window(void *channel, uint32_t slot);
void host_slot_answer(void *channel, uint32_t slot, const struct host_answer *answer);

/* One request to the client's helper thread. */
enum host_helper { HOST_HELPER_READ = 1, HOST_HELPER_WRITE = 2, HOST_HELPER_MAPPING = 3 };
/* Bytes moved, 0, a negated errno, or -ETIMEDOUT when no answer came. `pidfd` tells whether to go
   on waiting. */
int64_t host_helper_call(
    void *channel, int pidfd, uint32_t operation, uint64_t address, void *bytes, uint32_t count,
    uint64_t limit_nanoseconds);

void host_flag_set(uint32_t *flag);
bool host_flag_is_set(const uint32_t *flag);

#endif
