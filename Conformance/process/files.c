// SPDX-License-Identifier: Apache-2.0
// What a served file shares with all files: flags of the descriptor, offsets, streams, a first use behind vfork.
#include "process.h"

#include <asm/ioctls.h>
#include <sys/wait.h>

static const char attribute[] = "/sys/kernel/debug/fail_iommufd/times";

static void run_behind_vfork(void) {
  pid_t child = vfork();
  if (child == 0) {
    int fd = open("/dev/null", O_WRONLY); /* as a shell redirects the program that it starts */
    execl("/bin/true", "true", (char *)NULL);
    _exit(fd);
  }
  int status = -1;
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(status == 0);
}

static void run_streams(void) {
  char line[32] = "";
  FILE *stream = fopen(attribute, "w");
  REQUIRE(stream);
  CHECK(fprintf(stream, "%d", 37) == 2);
  CHECK(fclose(stream) == 0);
  stream = fopen(attribute, "r");
  REQUIRE(stream);
  for (int turn = 0; turn < 2; turn++) {
    CHECK(fgets(line, sizeof line, stream) == line);
    CHECK(strcmp(line, "37\n") == 0);
    CHECK(fgets(line, sizeof line, stream) == NULL && feof(stream));
    rewind(stream);
  }
  CHECK(fclose(stream) == 0);
  stream = fopen(attribute, "w");
  REQUIRE(stream);
  fputs("many", stream);
  CHECK(fclose(stream) == EOF); /* the text is no number */
  stream = fopen("/proc/self/fail-nth", "w");
  REQUIRE(stream);
  fputs("0", stream);
  CHECK(fclose(stream) == 0);
  stream = fopen("/proc/self/status", "re");
  REQUIRE(stream);
  CHECK(fgets(line, sizeof line, stream) == line);
  CHECK(strncmp(line, "Name:", 5) == 0);
  CHECK(fclose(stream) == 0);
}

int main(void) {
  run_behind_vfork(); /* first: the connection is not yet made */
  int fd = open_iommu(0);
  REQUIRE(fd >= 0);
  CHECK(fcntl(fd, F_GETFD) == 0);
  CHECK(ioctl(fd, FIOCLEX) == 0);
  CHECK(fcntl(fd, F_GETFD) == FD_CLOEXEC);
  CHECK(ioctl(fd, FIONCLEX) == 0);
  CHECK(fcntl(fd, F_GETFD) == 0);
  char byte;
  CHECK_ERROR(EINVAL, pread(fd, &byte, 1, -1));
  CHECK_ERROR(EINVAL, pwrite(fd, &byte, 1, -1));
  CHECK(works(fd));
  run_streams();
  CHECK(works(fd));
  close(fd);
  return finish_tests();
}
