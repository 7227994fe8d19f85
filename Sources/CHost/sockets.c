#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "CHost.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif
#define LISTEN_BACKLOG 128

static int result_of(long result) { return result < 0 ? -errno : (int)result; }

int host_socket_pair(int ends[2]) {
  return result_of(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends));
}

static int socket_at(const char *path, struct sockaddr_un *address) {
  size_t length = strlen(path);
  *address = (struct sockaddr_un){.sun_family = AF_UNIX};
  if (length >= sizeof address->sun_path) return -ENAMETOOLONG;
  memcpy(address->sun_path, path, length + 1);
  return result_of(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
}

int host_listen(const char *path) {
  struct sockaddr_un address;
  int made = socket_at(path, &address);
  if (made < 0) return made;
  if (bind(made, (struct sockaddr *)&address, sizeof address) == 0 &&
      listen(made, LISTEN_BACKLOG) == 0 && fcntl(made, F_SETFL, O_NONBLOCK) == 0)
    return made;
  int error = errno;
  close(made);
  return -error;
}

int host_connect(const char *path) {
  struct sockaddr_un address;
  int made = socket_at(path, &address);
  if (made < 0) return made;
  if (connect(made, (struct sockaddr *)&address, sizeof address) == 0) return made;
  int error = errno;
  close(made);
  return -error;
}

int host_accept(int listener) {
  return result_of(accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK));
}

int host_peer(int socket, struct host_peer *peer) {
  struct ucred credentials;
  socklen_t length = sizeof credentials;
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &length) < 0) return -errno;
  peer->process = credentials.pid;
  peer->user = credentials.uid;
  peer->group = credentials.gid;
  length = sizeof peer->pidfd;
  if (getsockopt(socket, SOL_SOCKET, SO_PEERPIDFD, &peer->pidfd, &length) < 0) peer->pidfd = -1;
  return 0;
}

union descriptor_control {
  struct cmsghdr header;
  char space[CMSG_SPACE(sizeof(int))];
};

int host_send(int socket, const void *bytes, size_t count, int descriptor) {
  struct iovec vector = {.iov_base = (void *)bytes, .iov_len = count};
  union descriptor_control control = {0};
  struct msghdr header = {.msg_iov = &vector, .msg_iovlen = 1};
  if (descriptor >= 0) {
    header.msg_control = &control;
    header.msg_controllen = sizeof control.space;
    control.header = (struct cmsghdr){
        .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(&control.header), &descriptor, sizeof descriptor);
  }
  return result_of(sendmsg(socket, &header, MSG_NOSIGNAL));
}

int host_receive(int socket, void *bytes, size_t count, int *descriptor) {
  struct iovec vector = {.iov_base = bytes, .iov_len = count};
  union descriptor_control control = {0};
  struct msghdr header = {.msg_iov = &vector,
                          .msg_iovlen = 1,
                          .msg_control = &control,
                          .msg_controllen = CMSG_LEN(sizeof(int))}; /* with room for two, two would come */
  *descriptor = -1;
  ssize_t length = recvmsg(socket, &header, MSG_CMSG_CLOEXEC);
  if (length < 0) return -errno;
  struct cmsghdr *first = CMSG_FIRSTHDR(&header);
  if (first != NULL && first->cmsg_type == SCM_RIGHTS && first->cmsg_len >= CMSG_LEN(sizeof(int)))
    memcpy(descriptor, CMSG_DATA(first), sizeof *descriptor);
  return (int)length;
}
