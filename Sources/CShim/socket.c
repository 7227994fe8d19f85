/* One message to the host's socket and its reply, on a connection of its own. */
#include "shim.h"

#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

static struct sockaddr_un address = {.sun_family = AF_UNIX};

bool socket_set_path(const char *path) {
  size_t length = strlen(path);
  if (length >= sizeof address.sun_path) return false;
  memcpy(address.sun_path, path, length + 1);
  return true;
}

const char *socket_path(void) { return address.sun_path; }

static long socket_new(void) { return raw_call3(SYS_socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0); }

static long socket_move_up(long socket) {
  long above = raw_fcntl((int)socket, F_DUPFD_CLOEXEC, socket + 1);
  if (above >= 0) (void)raw_close((int)socket);
  return above;
}

/*
 * A socket above the lowest free number, which is for the descriptor that will be received. In a table
 * with no room for that, the socket goes beyond the client's limit: only what the client receives counts.
 */
static long socket_make(void) {
  long made = socket_new();
  if (made < 0 && made != -EMFILE) return made;
  long above = made < 0 ? made : socket_move_up(made);
  if (above >= 0) return above;

  struct rlimit limit = {0};
  (void)raw_call4(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, (long)&limit);
  struct rlimit raised = {.rlim_cur = limit.rlim_cur + 1, .rlim_max = limit.rlim_max};
  (void)raw_call4(SYS_prlimit64, 0, RLIMIT_NOFILE, (long)&raised, 0);
  above = made < 0 ? socket_new() : socket_move_up(made);
  (void)raw_call4(SYS_prlimit64, 0, RLIMIT_NOFILE, (long)&limit, 0);
  return above < 0 && made >= 0 ? made : above;
}

union descriptor_control {
  struct cmsghdr header;
  char space[CMSG_SPACE(sizeof(int))];
};

static long send_message(int socket, struct viaduct_message *message, int descriptor) {
  struct iovec vector = {.iov_base = message, .iov_len = sizeof *message};
  union descriptor_control control = {0};
  struct msghdr header = {.msg_iov = &vector, .msg_iovlen = 1};
  if (descriptor >= 0) {
    header.msg_control = &control;
    header.msg_controllen = sizeof control.space;
    control.header = (struct cmsghdr){
        .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(&control.header), &descriptor, sizeof descriptor);
  }
  return raw_call3(SYS_sendmsg, socket, (long)&header, MSG_NOSIGNAL);
}

/* The received descriptor, 0 when none was asked for, or a negated errno. */
static long receive_reply(int socket, bool wants_descriptor, bool close_on_exec) {
  struct viaduct_reply reply = {0};
  struct iovec vector = {.iov_base = &reply, .iov_len = sizeof reply};
  union descriptor_control control = {0};
  struct msghdr header = {
      .msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control.space};
  long length = raw_call3(SYS_recvmsg, socket, (long)&header, close_on_exec ? MSG_CMSG_CLOEXEC : 0);
  if (length < 0) return length;
  if (length < (long)sizeof reply) return -EIO;

  int descriptor = -1;
  if (header.msg_controllen >= CMSG_LEN(sizeof(int)) && control.header.cmsg_type == SCM_RIGHTS)
    memcpy(&descriptor, CMSG_DATA(&control.header), sizeof descriptor);
  bool good = reply.error == 0 && wants_descriptor;
  if (good && descriptor >= 0) return descriptor;
  if (descriptor >= 0) (void)raw_close(descriptor);
  if (good) return header.msg_flags & MSG_CTRUNC ? -EMFILE : -EIO; /* the kernel found no free number */
  return reply.error > 0 ? -reply.error : reply.error;
}

/* Waits for the host's second reply: it has closed its own copy, so that our close will be the last one. */
static void await_release(int socket) {
  struct viaduct_reply reply;
  (void)raw_call3(SYS_read, socket, (long)&reply, sizeof reply);
}

static long exchange(struct viaduct_message *message, int sent, bool wants_descriptor, bool close_on_exec) {
  uint64_t signals;
  process_block_signals(&signals); /* a handler that jumps away would leave the socket open */
  long socket = socket_make();
  long result = socket;
  if (socket >= 0) {
    result = raw_call3(SYS_connect, socket, (long)&address, sizeof address);
    if (result >= 0) result = send_message((int)socket, message, sent);
    if (result == -EBADF && sent >= 0) result = send_message((int)socket, message, -1);
    if (result >= 0) result = receive_reply((int)socket, wants_descriptor, close_on_exec);
    /* The host turns away whom it has no descriptor for. */
    if (result == -EPIPE || result == -ECONNRESET) result = -ENFILE;
    if (result >= 0 && message->kind == VIADUCT_CLAIM) await_release((int)socket);
    (void)raw_close((int)socket);
  }
  process_restore_signals(&signals);
  return result;
}

long socket_hello(int32_t process) {
  struct viaduct_message message = {.kind = VIADUCT_HELLO, .version = VIADUCT_VERSION, .process = process};
  message.thread = process_caller().thread;
  return exchange(&message, -1, true, true);
}

long socket_claim(uint64_t token, bool close_on_exec) {
  struct caller caller = process_caller();
  struct viaduct_message message = {.kind = VIADUCT_CLAIM,
                                    .version = VIADUCT_VERSION,
                                    .process = caller.process,
                                    .thread = caller.thread,
                                    .value = token};
  return exchange(&message, -1, true, close_on_exec);
}

long socket_provide(int descriptor) {
  struct caller caller = process_caller();
  struct viaduct_message message = {.kind = VIADUCT_PROVIDE_MESSAGE,
                                    .version = VIADUCT_VERSION,
                                    .process = caller.process,
                                    .thread = caller.thread,
                                    .value = (uint32_t)descriptor};
  return exchange(&message, descriptor, false, false);
}
