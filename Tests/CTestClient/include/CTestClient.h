/* A client for tests: what the library does on the wire, without the library. */
#ifndef CTESTCLIENT_H
#define CTESTCLIENT_H

#include <stdbool.h>
#include <stdint.h>

struct test_call {
  uint32_t slot, operation;
  int32_t process, thread; /* 0: the caller's own */
  uint64_t device, inode;
  uint64_t argument[6];
  uint64_t window_address;
  uint32_t window_readable, window_writable;
  /* Answered. */
  uint32_t action, write_count;
  int64_t result;
  uint64_t value[4];
  uint32_t offsets[8], lengths[8];
};

/* Says hello and maps the channel; NULL and errno when refused. */
void *test_connect(const char *path);
void test_disconnect(void *channel);
/* One call, the window's bytes in and out of `window` (4096 bytes). False: no answer came. */
bool test_call(void *channel, struct test_call *call, void *window);
/* Fills a slot with noise, as a request, and rings. True when the host answered it. */
bool test_noise(void *channel, uint32_t slot, uint64_t seed);
bool test_is_closed(const void *channel);
void test_pinned(const void *channel, uint64_t *low, uint64_t *high);
uint32_t test_prefix_bytes(const void *channel, void *prefixes, uint32_t capacity);
bool test_needs_helper(const void *channel);

/* The descriptor of a token, or a negated errno. */
int test_claim(const char *path, uint64_t token);
/* Lets another process try; what it gets is closed with it. 0 or a negated errno. */
int test_claim_elsewhere(const char *path, uint64_t token);
/* Sends a descriptor that was asked for; -1 says that it is not open. */
int test_provide(const char *path, int descriptor, uint64_t number);
void test_identity(int descriptor, uint64_t *device, uint64_t *inode);
uint32_t test_poll(int descriptor);
int32_t test_thread(void);

/* Starts a thread that serves the channel's memory requests, as the library's helper does. */
bool test_start_helper(void *channel);

/* Forks a client that says hello, opens `name`, claims the descriptor when `claims`, and waits to be
   killed. It rings once more and more often, so that it may die at any instant. */
int32_t test_fork_client(const char *path, const char *name, bool claims);
void test_kill(int32_t process);
int test_open_descriptor_count(void);
int test_memfd(const char *name, uint64_t bytes);

#endif
