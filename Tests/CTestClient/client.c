#define _GNU_SOURCE
#include "CTestClient.h"

#include <dirent.h>
#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "viaduct_channel.h"

#define ANSWER_SECONDS 20

static long futex(void *word, int operation, uint32_t value, const struct timespec *limit) {
  return syscall(SYS_futex, word, operation, value, limit, NULL, 0);
}

static int connection_to(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  strncpy(address.sun_path, path, sizeof address.sun_path - 1);
  int made = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  if (made < 0) return -errno;
  if (connect(made, (struct sockaddr *)&address, sizeof address) == 0) return made;
  int error = errno;
  close(made);
  return -error;
}

union descriptor_control {
  struct cmsghdr header;
  char space[CMSG_SPACE(sizeof(int))];
};

/* The received descriptor, 0 when none came, or a negated errno. */
static int exchange(const char *path, struct viaduct_message *message, int sent) {
  int connection = connection_to(path);
  if (connection < 0) return connection;
  struct iovec vector = {.iov_base = message, .iov_len = sizeof *message};
  union descriptor_control control = {0};
  struct msghdr header = {.msg_iov = &vector, .msg_iovlen = 1};
  if (sent >= 0) {
    header.msg_control = &control;
    header.msg_controllen = sizeof control.space;
    control.header = (struct cmsghdr){
        .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(&control.header), &sent, sizeof sent);
  }
  struct viaduct_reply reply = {.error = EIO};
  int received = -EIO;
  if (sendmsg(connection, &header, MSG_NOSIGNAL) >= 0) {
    vector = (struct iovec){.iov_base = &reply, .iov_len = sizeof reply};
    header.msg_control = &control;
    header.msg_controllen = sizeof control.space;
    if (recvmsg(connection, &header, MSG_CMSG_CLOEXEC) == sizeof reply) {
      received = -reply.error;
      struct cmsghdr *first = CMSG_FIRSTHDR(&header);
      if (first) memcpy(&received, CMSG_DATA(first), sizeof received);
    }
  }
  /* A second message says that the host has let go of the descriptor. */
  if (message->kind == VIADUCT_CLAIM && received >= 0) {
    vector = (struct iovec){.iov_base = &reply, .iov_len = sizeof reply};
    struct msghdr last = {.msg_iov = &vector, .msg_iovlen = 1};
    (void)recvmsg(connection, &last, 0);
  }
  close(connection);
  return received;
}

static struct viaduct_message message_of(uint32_t kind, uint64_t value) {
  return (struct viaduct_message){.kind = kind,
                                  .version = VIADUCT_VERSION,
                                  .process = getpid(),
                                  .thread = (int32_t)syscall(SYS_gettid),
                                  .value = value};
}

void *test_connect(const char *path) {
  struct viaduct_message message = message_of(VIADUCT_HELLO, 0);
  int channel = exchange(path, &message, -1);
  if (channel <= 0) {
    errno = -channel;
    return NULL;
  }
  size_t bytes = sizeof(struct viaduct_channel);
  void *pages = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, channel, 0);
  close(channel);
  return pages == MAP_FAILED ? NULL : pages;
}

void test_disconnect(void *channel) { munmap(channel, sizeof(struct viaduct_channel)); }

static bool ring(struct viaduct_channel *channel, uint32_t index) {
  struct viaduct_slot *slot = &channel->slots[index];
  atomic_store(&slot->client_sleeps, 1);
  atomic_store(&slot->state, VIADUCT_REQUESTED);
  atomic_fetch_or(&channel->pending, 1ull << index);
  atomic_fetch_add(&channel->doorbell, 1);
  if (atomic_load(&channel->host_sleeps)) futex(&channel->doorbell, FUTEX_WAKE, 1, NULL);
  time_t end = time(NULL) + ANSWER_SECONDS;
  while (atomic_load(&slot->state) != VIADUCT_ANSWERED) {
    if (atomic_load(&channel->closed) || time(NULL) > end) return false;
    struct timespec step = {.tv_nsec = 50000000};
    futex(&slot->state, FUTEX_WAIT, VIADUCT_REQUESTED, &step);
  }
  return true;
}

bool test_call(void *pages, struct test_call *call, void *window) {
  struct viaduct_channel *channel = pages;
  struct viaduct_slot *slot = &channel->slots[call->slot];
  slot->operation = call->operation;
  slot->process = call->process ? call->process : getpid();
  slot->thread = call->thread ? call->thread : (int32_t)syscall(SYS_gettid);
  slot->file_device = call->device;
  slot->file_inode = call->inode;
  memcpy(slot->argument, call->argument, sizeof slot->argument);
  slot->window_address = call->window_address;
  slot->window_readable = call->window_readable;
  slot->window_writable = call->window_writable;
  slot->action = 0;
  slot->write_count = 0;
  memcpy(slot->window, window, sizeof slot->window);
  if (!ring(channel, call->slot)) return false;
  call->action = slot->action;
  call->result = slot->result;
  call->write_count = slot->write_count;
  memcpy(call->value, slot->value, sizeof call->value);
  for (uint32_t index = 0; index < VIADUCT_WRITES; index++) {
    call->offsets[index] = slot->writes[index].offset;
    call->lengths[index] = slot->writes[index].length;
  }
  memcpy(window, slot->window, sizeof slot->window);
  atomic_store(&slot->state, VIADUCT_FREE);
  return true;
}

bool test_noise(void *pages, uint32_t index, uint64_t seed) {
  struct viaduct_channel *channel = pages;
  struct viaduct_slot *slot = &channel->slots[index];
  uint64_t *words = (uint64_t *)((char *)slot + offsetof(struct viaduct_slot, operation));
  size_t count = (sizeof *slot - offsetof(struct viaduct_slot, operation)) / sizeof *words;
  for (size_t word = 0; word < count; word++) {
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    words[word] = seed ^ seed >> 29;
  }
  /* Mostly an operation that exists, so that the rest is looked at too. */
  static const uint32_t operations[] = {1, 2, 3, 10, 11, 12, 13, 14, 15, 16, 20, 21};
  if (seed & 0x7000) slot->operation = operations[(seed >> 20) % 12];
  return ring(channel, index);
}

bool test_is_closed(const void *pages) {
  return atomic_load(&((struct viaduct_channel *)pages)->closed) != 0;
}

void test_pinned(const void *pages, uint64_t *low, uint64_t *high) {
  struct viaduct_channel *channel = (struct viaduct_channel *)pages;
  *low = atomic_load(&channel->pinned_low);
  *high = atomic_load(&channel->pinned_high);
}

uint32_t test_prefix_bytes(const void *pages, void *prefixes, uint32_t capacity) {
  const struct viaduct_channel *channel = pages;
  uint32_t count = capacity < VIADUCT_PREFIX_BYTES ? capacity : VIADUCT_PREFIX_BYTES;
  memcpy(prefixes, channel->prefixes, count);
  return count;
}

bool test_needs_helper(const void *pages) {
  return ((const struct viaduct_channel *)pages)->helper_required != 0;
}

int test_claim(const char *path, uint64_t token) {
  struct viaduct_message message = message_of(VIADUCT_CLAIM, token);
  return exchange(path, &message, -1);
}

int test_provide(const char *path, int descriptor, uint64_t number) {
  struct viaduct_message message = message_of(VIADUCT_PROVIDE_MESSAGE, number);
  return exchange(path, &message, descriptor);
}

void test_identity(int descriptor, uint64_t *device, uint64_t *inode) {
  struct stat status = {0};
  fstat(descriptor, &status);
  *device = status.st_dev;
  *inode = status.st_ino;
}

uint32_t test_poll(int descriptor) {
  struct pollfd one = {.fd = descriptor, .events = POLLIN | POLLOUT};
  poll(&one, 1, 0);
  return (uint32_t)one.revents;
}

int32_t test_thread(void) { return (int32_t)syscall(SYS_gettid); }

static void *helper_main(void *argument) {
  struct viaduct_channel *channel = argument;
  while (!atomic_load(&channel->closed)) {
    uint32_t seen = atomic_load(&channel->helper_state);
    if (seen != VIADUCT_REQUESTED) {
      struct timespec step = {.tv_nsec = 50000000};
      futex(&channel->helper_state, FUTEX_WAIT, seen, &step);
      continue;
    }
    void *memory = (void *)channel->helper_address;
    if (channel->helper_operation == 1) memcpy(channel->helper_window, memory, channel->helper_length);
    if (channel->helper_operation == 2) memcpy(memory, channel->helper_window, channel->helper_length);
    channel->helper_result = channel->helper_operation == 3 ? -ENOENT : channel->helper_length;
    atomic_store(&channel->helper_state, VIADUCT_ANSWERED);
    futex(&channel->helper_state, FUTEX_WAKE, 1, NULL);
  }
  return NULL;
}

bool test_start_helper(void *channel) {
  pthread_t thread;
  if (pthread_create(&thread, NULL, helper_main, channel) != 0) return false;
  pthread_detach(thread);
  return true;
}

static void live(const char *path, const char *name, bool claims) {
  struct viaduct_channel *channel = test_connect(path);
  if (!channel) _exit(1);
  static char window[VIADUCT_WINDOW_BYTES];
  for (;;) {
    strncpy(window, name, sizeof window - 1);
    struct test_call call = {.operation = VIADUCT_OPEN};
    if (!test_call(channel, &call, window)) _exit(2);
    if (claims && test_claim(path, call.value[1]) < 0) _exit(3);
  }
}

int32_t test_fork_client(const char *path, const char *name, bool claims) {
  pid_t child = fork();
  if (child != 0) return child;
  /* Not the test's own descriptors: they would keep its files open. */
  syscall(SYS_close_range, 3, ~0u, 0);
  live(path, name, claims);
  _exit(4);
}

int test_claim_elsewhere(const char *path, uint64_t token) {
  pid_t child = fork();
  if (child == 0) {
    int claimed = test_claim(path, token);
    _exit(claimed < 0 ? -claimed : 0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return -WEXITSTATUS(status);
}

void test_kill(int32_t process) {
  kill(process, SIGKILL);
  waitpid(process, NULL, 0);
}

int test_open_descriptor_count(void) {
  DIR *directory = opendir("/proc/self/fd");
  int count = 0;
  while (directory && readdir(directory)) count++;
  if (directory) closedir(directory);
  return count;
}

int test_memfd(const char *name, uint64_t bytes) {
  int made = memfd_create(name, MFD_CLOEXEC);
  if (made >= 0 && ftruncate(made, (off_t)bytes) < 0) return -errno;
  return made;
}
