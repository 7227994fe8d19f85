// SPDX-License-Identifier: Apache-2.0
// A call that makes a descriptor when the table is full, has one gap, or the answer cannot be stored.
#include "process.h"

#include <sys/resource.h>

#define LIMIT 64

static int queue_alloc(int fd, struct iommu_fault_alloc *queue) {
  *queue = (struct iommu_fault_alloc){.size = sizeof *queue};
  return ioctl(fd, IOMMU_FAULT_QUEUE_ALLOC, queue);
}

int main(void) {
  struct rlimit limit;
  struct iommu_fault_alloc queue;
  int fd = open_iommu(O_CLOEXEC), last = -1, copy;
  REQUIRE(fd >= 0);
  getrlimit(RLIMIT_NOFILE, &limit);
  rlim_t before = limit.rlim_cur;
  limit.rlim_cur = LIMIT;
  REQUIRE(setrlimit(RLIMIT_NOFILE, &limit) == 0);

  while ((copy = dup(0)) >= 0) last = copy;
  CHECK(errno == EMFILE && last == LIMIT - 1);
  CHECK_ERROR(EMFILE, queue_alloc(fd, &queue));
  CHECK_ERROR(EMFILE, open_iommu(0));
  CHECK(works(fd)); /* calls that make none are not touched by it */

  close(last);
  CHECK(queue_alloc(fd, &queue) == 0); /* one gap is enough */
  CHECK((int)queue.out_fault_fd == last);
  CHECK(fcntl(last, F_GETFD) == FD_CLOEXEC);
  CHECK_ERROR(EMFILE, queue_alloc(fd, &queue));
  getrlimit(RLIMIT_NOFILE, &limit);
  CHECK(limit.rlim_cur == LIMIT);
  close(last);
  int second = open_iommu(O_CLOEXEC);
  CHECK(second == last);
  CHECK(works(second));
  close(second);

  /* Read-only memory: the call fails, and no descriptor is left behind. */
  struct iommu_fault_alloc *fixed = private_pages(NULL, PAGE);
  *fixed = (struct iommu_fault_alloc){.size = sizeof *fixed};
  mprotect(fixed, PAGE, PROT_READ);
  for (int turn = 0; turn < 3; turn++) CHECK_ERROR(EFAULT, ioctl(fd, IOMMU_FAULT_QUEUE_ALLOC, fixed));
  CHECK(dup(0) == last);

  limit.rlim_cur = before;
  setrlimit(RLIMIT_NOFILE, &limit);
  close_range((unsigned)fd + 1, ~0u, 0);
  CHECK(queue_alloc(fd, &queue) == 0);
  CHECK((int)queue.out_fault_fd == fd + 1);
  close((int)queue.out_fault_fd);
  CHECK(destroy(fd, queue.out_fault_id) == 0);
  close(fd);
  return finish_tests();
}
