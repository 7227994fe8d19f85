// SPDX-License-Identifier: Apache-2.0
// One open file seen through dup, fork, vfork, exec, posix_spawn and SCM_RIGHTS: the same objects everywhere.
#include "process.h"

#include <spawn.h>
#include <sys/socket.h>

extern char **environ;

/* The exec'ed part: destroys an object that its parent made. */
static int after_exec(int fd, uint32_t ioas) {
  CHECK(destroy(fd, ioas) == 0);
  CHECK(works(fd));
  return finish_tests();
}

static void duplicates(int fd) {
  uint32_t ioas;
  int copies[4];
  CHECK((copies[0] = dup(fd)) >= 0);
  CHECK((copies[1] = fcntl(fd, F_DUPFD_CLOEXEC, 50)) >= 50);
  CHECK((copies[2] = dup2(fd, 70)) == 70);
  CHECK((copies[3] = dup3(copies[2], 71, O_CLOEXEC)) == 71);
  for (int index = 0; index < 4; index++) {
    CHECK(ioas_alloc(fd, &ioas) == 0);
    CHECK(destroy(copies[index], ioas) == 0);
    CHECK_ERROR(ENOENT, destroy(fd, ioas));
  }

  int other = open_iommu(O_CLOEXEC);
  CHECK(ioas_alloc(fd, &ioas) == 0);
  CHECK_ERROR(ENOENT, destroy(other, ioas)); /* another open has its own objects */
  CHECK(dup2(other, 70) == 70);              /* and may take a number over */
  CHECK_ERROR(ENOENT, destroy(70, ioas));
  CHECK(dup2(fd, 70) == 70);
  CHECK(destroy(70, ioas) == 0);

  int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  CHECK(dup2(null, 70) == 70);
  CHECK_ERROR(ENOTTY, ioas_alloc(70, &ioas));
  CHECK(close_range(70, 71, 0) == 0);
  CHECK_ERROR(EBADF, ioas_alloc(71, &ioas));
  close(null);
  close(other);
  close(copies[0]);
  close(copies[1]);
  CHECK(works(fd));
}

static void lowest_number(int fd) {
  int first = dup(fd), second = dup(fd);
  close(first);
  CHECK(open_iommu(0) == first);
  CHECK(fcntl(first, F_GETFD) == 0);
  close(first);
  CHECK(open_iommu(O_CLOEXEC) == first);
  CHECK(fcntl(first, F_GETFD) == FD_CLOEXEC);
  close(first);
  close(second);
}

static void children(int fd) {
  uint32_t ioas;
  pid_t child = fork();
  if (child == 0) {
    pid_t grandchild = fork();
    if (grandchild == 0) _exit(!works(fd));
    _exit(!(works(fd) && reap(grandchild) == 0));
  }
  CHECK(reap(child) == 0);

  /* What a child makes outlives it, as the file does. */
  int pipes[2];
  CHECK(pipe(pipes) == 0);
  child = fork();
  if (child == 0) {
    ssize_t written = ioas_alloc(fd, &ioas) == 0 ? write(pipes[1], &ioas, sizeof ioas) : -1;
    _exit(written != sizeof ioas);
  }
  CHECK(reap(child) == 0);
  CHECK(read(pipes[0], &ioas, sizeof ioas) == sizeof ioas);
  CHECK(destroy(fd, ioas) == 0);
  close(pipes[0]);
  close(pipes[1]);

  /* A vfork child's closes and replacements are its own. */
  static volatile int worked;
  child = vfork();
  if (child == 0) {
    uint32_t id;
    worked = ioas_alloc(fd, &id) == 0 && destroy(fd, id) == 0;
    close(fd);
    _exit(0);
  }
  CHECK(reap(child) == 0);
  CHECK(worked);
  CHECK(works(fd));
}

enum start { FORK, VFORK, FORK_CLEAN, SPAWN, SPAWN_CLEAN };

static pid_t start(enum start how, char *const arguments[]) {
  char *nothing[] = {NULL};
  char **environment = how == FORK_CLEAN || how == SPAWN_CLEAN ? nothing : environ;
  pid_t child = -1;
  if (how >= SPAWN) {
    CHECK(posix_spawn(&child, arguments[0], NULL, NULL, arguments, environment) == 0);
    return child;
  }
  child = how == VFORK ? vfork() : fork();
  if (child == 0) {
    execve(arguments[0], arguments, environment);
    _exit(99);
  }
  return child;
}

static void programs(int fd, char *self) {
  uint32_t ioas;
  char number[16], object[16];
  char *arguments[] = {self, number, object, NULL};
  int passed = dup(fd);
  for (int how = FORK; how <= SPAWN_CLEAN; how++) {
    CHECK(ioas_alloc(fd, &ioas) == 0);
    snprintf(number, sizeof number, "%d", passed);
    snprintf(object, sizeof object, "%u", ioas);
    CHECK(reap(start((enum start)how, arguments)) == 0);
    CHECK_ERROR(ENOENT, destroy(fd, ioas));
  }
  close(passed);
}

static void send_descriptor(int socket, int fd) {
  char byte = 0;
  union {
    struct cmsghdr header;
    char space[CMSG_SPACE(sizeof fd)];
  } control = {.header = {.cmsg_len = CMSG_LEN(sizeof fd), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
  memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
  struct iovec vector = {.iov_base = &byte, .iov_len = 1};
  struct msghdr message = {
      .msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control.space};
  CHECK(sendmsg(socket, &message, 0) == 1);
}

static int receive_descriptor(int socket) {
  char byte;
  int fd = -1;
  union {
    struct cmsghdr header;
    char space[CMSG_SPACE(sizeof fd)];
  } control;
  struct iovec vector = {.iov_base = &byte, .iov_len = 1};
  struct msghdr message = {
      .msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control.space};
  if (recvmsg(socket, &message, MSG_CMSG_CLOEXEC) == 1 && message.msg_controllen)
    memcpy(&fd, CMSG_DATA(&control.header), sizeof fd);
  return fd;
}

static void passing(int fd) {
  uint32_t ioas;
  int sockets[2];
  CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) == 0);
  CHECK(ioas_alloc(fd, &ioas) == 0);
  pid_t child = fork();
  if (child == 0) {
    close(fd);
    int received = receive_descriptor(sockets[0]);
    CHECK(destroy(received, ioas) == 0);
    int own = open_iommu(O_CLOEXEC);
    CHECK(ioas_alloc(own, &ioas) == 0);
    send_descriptor(sockets[0], own);
    _exit(finish_tests());
  }
  send_descriptor(sockets[1], fd);
  CHECK(reap(child) == 0);
  int received = receive_descriptor(sockets[1]); /* its sender is gone */
  CHECK(works(received));
  CHECK_ERROR(ENOENT, destroy(fd, ioas));
  close(received);
  close(sockets[0]);
  close(sockets[1]);
}

int main(int count, char **arguments) {
  if (count == 3) return after_exec(atoi(arguments[1]), (uint32_t)strtoul(arguments[2], NULL, 10));
  int fd = open_iommu(O_CLOEXEC);
  REQUIRE(fd >= 0);
  REQUIRE(works(fd));
  duplicates(fd);
  lowest_number(fd);
  children(fd);
  programs(fd, arguments[0]);
  passing(fd);
  CHECK(close(fd) == 0);
  CHECK(!works(fd) && errno == EBADF);
  return finish_tests();
}
