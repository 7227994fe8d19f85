/* System calls and structures that need _GNU_SOURCE or a variable argument list. */
#ifndef HOST_SYSTEM_H
#define HOST_SYSTEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Each returns a descriptor or a count, or a negated errno. */
int host_memfd(const char *name, uint64_t bytes);
int host_memfd_seal_size(int descriptor);
int host_pidfd_open(int32_t process);
int host_pidfd_getfd(int pidfd, int32_t number);
int host_open(const char *path, int flags);
int host_reopen(int descriptor, int flags);
int host_pipe(int ends[2]);
int host_socket_pair(int ends[2]);
int host_eventfd(void);

/* A SOCK_SEQPACKET listener at `path`. */
int host_listen(const char *path);
int host_connect(const char *path);
int host_accept(int listener);
struct host_peer {
  int32_t process;
  uint32_t user, group;
  int pidfd; /* -1 where the kernel does not give it */
};
int host_peer(int socket, struct host_peer *peer);
/* Messages carry at most one descriptor; -1 stands for none. */
int host_send(int socket, const void *bytes, size_t count, int descriptor);
int host_receive(int socket, void *bytes, size_t count, int *descriptor);

struct host_event {
  uint32_t events;
  uint64_t key;
};
#define HOST_READABLE 0x001u
#define HOST_ENDED 0x018u /* EPOLLERR and EPOLLHUP */
int host_epoll(void);
int host_epoll_add(int epoll, int descriptor, uint32_t events, uint64_t key);
int host_epoll_remove(int epoll, int descriptor);
int host_epoll_wait(int epoll, struct host_event *events, int count, int milliseconds);
/* The events of one descriptor, without waiting. */
uint32_t host_poll(int descriptor, uint32_t events);

struct host_file_status {
  uint64_t device, inode, byte_count;
  uint64_t block_bytes;
  uint32_t mode;
  bool is_memory;      /* memfd or tmpfs */
  bool is_huge_memory; /* the same in huge pages */
  bool is_path_only;   /* opened with O_PATH */
};
int host_file_status(int descriptor, struct host_file_status *status);

/* Whether nobody else has this file open for writing or holds a mapping made through such an
   opening: 1 or 0, or a negated errno where the kernel cannot tell. The descriptor must have been
   made by open. */
int host_is_sole_writer(int descriptor);

int host_random(void *bytes, size_t count);
uint64_t host_nanoseconds(void);
int host_processor_count(void);
/* RLIMIT_MEMLOCK of a process; UINT64_MAX is no limit. */
int host_lock_limit(int32_t process, uint64_t *bytes);

typedef void (*host_thread_body)(void *);
/* Starts a thread with all signals blocked but those that faults raise. */
int host_thread_start(host_thread_body body, void *argument, uint64_t *thread);
/* 0 when the thread has been joined, -ETIMEDOUT when it still runs. */
int host_thread_join(uint64_t thread, int milliseconds);

#endif
