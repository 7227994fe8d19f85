/*
 * The channel between a client process (libviaduct.so) and the host (viaduct).
 *
 * One channel serves one client process. It is a memfd that the host makes and the shim maps: a header
 * page and VIADUCT_SLOTS slots. A client thread claims a slot, fills in a request, rings, and waits for
 * the answer in the same slot. Nothing here knows an ioctl: the shim forwards addresses and bytes.
 *
 * Descriptors travel over short-lived connections to the host's socket (SOCK_SEQPACKET), one message
 * each way, so that a client keeps no descriptor of ours.
 */
#ifndef VIADUCT_CHANNEL_H
#define VIADUCT_CHANNEL_H

#include <stdatomic.h>
#include <stdint.h>

#define VIADUCT_MAGIC 0x54435544414956ULL /* "VIADUCT" */
#define VIADUCT_VERSION 1u
#define VIADUCT_SLOTS 64u
#define VIADUCT_WINDOW_BYTES 4096u
#define VIADUCT_IOCTL_WINDOW_BYTES 256u
#define VIADUCT_WRITES 8u
#define VIADUCT_PREFIX_BYTES 2048u

/* The environment variable that holds the path of the host's socket. */
#define VIADUCT_SOCKET_VARIABLE "VIADUCT_SOCKET"

/* slot.state; the word is also the futex the client sleeps on. */
enum viaduct_state {
  VIADUCT_FREE = 0,
  VIADUCT_CLAIMED = 1,  /* a client thread fills it in */
  VIADUCT_REQUESTED = 2,
  VIADUCT_ANSWERED = 3,
};

enum viaduct_operation {
  /* Paths. The window holds the absolute path (lexically normalised), NUL-terminated. */
  VIADUCT_OPEN = 1,     /* argument: flags, mode */
  VIADUCT_STAT = 2,     /* argument: 1 = do not follow a final symbolic link. Also serves access and realpath. */
  VIADUCT_READLINK = 3, /* answered by REDIRECT or PASS */

  /* Files, named by device and inode number. */
  VIADUCT_IDENTIFY = 10, /* is it ours? result = enum viaduct_kind or 0 */
  VIADUCT_FSTAT = 11,    /* the answer's window holds a struct viaduct_status */
  VIADUCT_IOCTL = 12,    /* argument: command, address; the window is the memory at the address */
  VIADUCT_READ = 13,     /* argument: buffer, count, offset or -1; the window is the buffer's beginning */
  VIADUCT_WRITE = 14,    /* the same */
  VIADUCT_MMAP = 15,     /* argument: length, prot, flags, offset; answered by a descriptor, value[0] = its offset */
  VIADUCT_CLOSED = 16,   /* a descriptor of the file was closed: look for its end now */

  /* The process. */
  VIADUCT_REPLACED = 20,      /* argument: address, length of memory unmapped or mapped anew */
  VIADUCT_INSTALL_FAILED = 21, /* argument: token, errno. The descriptor could not be installed: undo. */
};

/* What kind of descriptor stands for a file. */
enum viaduct_kind {
  VIADUCT_KIND_SOCKET = 1, /* device files, attribute files: one end of a socket pair */
  VIADUCT_KIND_PIPE = 2,   /* event queues */
};

/* slot.action: what the shim has to do with the answer. Flags. */
enum viaduct_action {
  VIADUCT_PASS = 1,       /* not ours: make the real call */
  VIADUCT_REDIRECT = 2,   /* the window holds another path: make the real call with it */
  VIADUCT_DESCRIPTOR = 4, /* claim value[1] (token) over the socket; open: it is the result; mmap: map it;
                             ioctl: store its number as 32 bits at value[2], or, when that is 0, return it.
                             value[3] & 1: close-on-exec */
  VIADUCT_PROVIDE = 8,    /* send descriptor value[0] over the socket, then make the same request again */
};

struct viaduct_status { /* what fstat shows of a file */
  uint64_t device, inode, special; /* st_dev, st_ino, st_rdev */
  uint32_t mode, links, user, group;
  uint64_t size;
};

struct viaduct_slot {
  _Atomic uint32_t state;
  _Atomic uint32_t client_sleeps; /* set by the client before it sleeps on state; the host then wakes it */
  uint32_t operation;
  int32_t thread;                 /* the calling thread's id, as gettid() gives it in the client */
  int32_t process;                /* getpid() of the caller; differs from the channel's in a vfork child */
  uint32_t window_readable;       /* bytes of window[] copied from window_address */
  uint32_t window_writable;       /* bytes there that the probe found writable */
  uint32_t action;                /* answer: enum viaduct_action */
  uint64_t file_device, file_inode;
  uint64_t argument[6];
  uint64_t window_address;
  int64_t result;                 /* answer: the call's value, or a negated errno */
  uint64_t value[4];
  uint32_t write_count;           /* answer: extents of window[] that go back to window_address */
  struct {
    uint32_t offset, length;
  } writes[VIADUCT_WRITES];
  _Alignas(64) uint8_t window[VIADUCT_WINDOW_BYTES];
};

struct viaduct_channel {
  uint64_t magic;
  uint32_t version, slot_count;
  int32_t host_process;
  _Atomic uint32_t closed;       /* the host is gone or has dropped this client: every call fails with EIO */
  _Alignas(64) _Atomic uint64_t pending; /* bit n: slot n holds a request */
  _Atomic uint32_t doorbell;     /* incremented with each request; the futex the host sleeps on */
  _Atomic uint32_t host_sleeps;  /* set by the host before it sleeps; the client then wakes it */
  _Alignas(64) _Atomic uint64_t pinned_low, pinned_high; /* private memory of this process that is pinned
                                    lies in [low, high): replacing any of it is reported */
  uint32_t helper_required;      /* the host cannot reach this client's memory: start a helper thread */
  _Atomic uint32_t helper_state; /* a memory request for the helper: enum viaduct_state, and its futex */
  uint32_t helper_operation;     /* 1 read, 2 write, 3 query mapping */
  uint32_t helper_length;
  uint64_t helper_address;
  int64_t helper_result;         /* bytes moved, or 0 = query answered, or a negated errno */
  /* Path prefixes that belong to the host, NUL-separated, ended by an empty one. '*' stands for one
     component; a prefix that ends in '/' covers the directory and all below it, any other is one path. */
  char prefixes[VIADUCT_PREFIX_BYTES];
  char tree[256];                /* where the served tree lies on disk; paths below it are named without it */
  _Alignas(4096) uint8_t helper_window[65536];
  _Alignas(4096) struct viaduct_slot slots[VIADUCT_SLOTS];
};

/* What helper_operation 3 leaves in helper_window: the mapping at or after the address. */
struct viaduct_mapping {
  uint64_t start, end, offset, inode;
  uint32_t device_major, device_minor;
  uint32_t flags; /* 1 readable, 2 writable, 4 executable, 8 shared */
  uint32_t page_bytes;
};

/* Messages over the socket. The host answers each with a struct viaduct_reply. */
enum viaduct_message_kind {
  VIADUCT_HELLO = 1,          /* -> the channel, as a descriptor */
  VIADUCT_CLAIM = 2,          /* value = token -> the descriptor, then a second reply when the host has closed
                                 its own copy of it */
  VIADUCT_PROVIDE_MESSAGE = 3, /* value = descriptor number; the descriptor travels with the message */
};

struct viaduct_message {
  uint32_t kind, version;
  int32_t process, thread;
  uint64_t value;
};

struct viaduct_reply {
  int32_t error; /* 0 or an errno */
  uint32_t version;
};

#endif
