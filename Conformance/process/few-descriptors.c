// SPDX-License-Identifier: Apache-2.0
// Host and client have few descriptors (Conformance/run sees to it): opens fail, and nothing hangs.
#include "process.h"

int main(void) {
  int first = open_iommu(O_CLOEXEC), last = first, fd;
  REQUIRE(first >= 0);
  while ((fd = open_iommu(O_CLOEXEC)) >= 0) last = fd;
  CHECK(errno == EMFILE || errno == ENFILE);
  CHECK_ERROR(errno, open_iommu(O_CLOEXEC));
  CHECK(works(first));
  CHECK(works(last));
  close_range((unsigned)first + 1, (unsigned)last, 0);
  for (int turn = 0; turn < 10; turn++) {
    fd = open_iommu(O_CLOEXEC);
    CHECK(fd == first + 1);
    CHECK(works(fd));
    close(fd);
  }
  close(first);
  return finish_tests();
}
