// SPDX-License-Identifier: Apache-2.0
// Memory is unmapped and mapped anew at the same address while a device has it: it is no longer the same memory.
#include "process.h"

#define LENGTH (8u * PAGE)

enum replacement { UNMAP_AND_MAP, MAP_OVER, MOVE_AWAY, DROP_PAGES };

static void replace(enum replacement how, uint8_t *memory) {
  switch (how) {
    case UNMAP_AND_MAP:
      CHECK(munmap(memory, LENGTH) == 0);
      CHECK(private_pages(memory, LENGTH) == memory);
      break;
    case MAP_OVER: CHECK(private_pages(memory, LENGTH) == memory); break;
    case MOVE_AWAY: {
      void *room = private_pages(NULL, LENGTH);
      CHECK(mremap(memory, LENGTH, LENGTH, MREMAP_MAYMOVE | MREMAP_FIXED, room) == room);
      CHECK(private_pages(memory, LENGTH) == memory);
      CHECK(munmap(room, LENGTH) == 0);
      break;
    }
    case DROP_PAGES: CHECK(madvise(memory, LENGTH, MADV_DONTNEED) == 0); break;
  }
}

static void run(int fd, enum replacement how) {
  uint32_t ioas, page_table, device;
  int before = failures;
  REQUIRE(ioas_alloc(fd, &ioas) == 0);
  REQUIRE(mock_device(fd, ioas, &page_table, &device) == 0);
  uint8_t *memory = private_pages(NULL, LENGTH);
  memset(memory, 1, LENGTH);
  CHECK(ioas_map(fd, ioas, memory, LENGTH, MAP_IOVA) == 0);
  CHECK(check_map(fd, page_table, memory, LENGTH, MAP_IOVA) == 0);

  replace(how, memory);
  memset(memory, 2, LENGTH);
  CHECK_ERROR(EINVAL, check_map(fd, page_table, memory, LENGTH, MAP_IOVA));

  CHECK(ioas_unmap(fd, ioas, MAP_IOVA, LENGTH) == LENGTH);
  CHECK(ioas_map(fd, ioas, memory, LENGTH, MAP_IOVA) == 0);
  CHECK(check_map(fd, page_table, memory, LENGTH, MAP_IOVA) == 0);
  for (unsigned index = 0; index < LENGTH; index += PAGE) CHECK(memory[index] == 2);
  CHECK(ioas_unmap(fd, ioas, MAP_IOVA, LENGTH) == LENGTH);
  munmap(memory, LENGTH);
  if (failures != before) printf("with replacement %d\n", (int)how);
}

/* What stays where it was is still the same memory. */
static void run_in_place(int fd) {
  uint32_t ioas, page_table, device;
  REQUIRE(ioas_alloc(fd, &ioas) == 0);
  REQUIRE(mock_device(fd, ioas, &page_table, &device) == 0);
  uint8_t *memory = private_pages(NULL, 3 * LENGTH);
  CHECK(munmap(memory + LENGTH, 2 * LENGTH) == 0); /* room to grow into */
  CHECK(ioas_map(fd, ioas, memory, LENGTH, MAP_IOVA) == 0);
  CHECK(mremap(memory, LENGTH, 2 * LENGTH, 0) == memory);
  CHECK(check_map(fd, page_table, memory, LENGTH, MAP_IOVA) == 0);
  CHECK(mremap(memory, 2 * LENGTH, LENGTH / 2, 0) == memory);
  CHECK(check_map(fd, page_table, memory, LENGTH / 2, MAP_IOVA) == 0);
  CHECK_ERROR(EINVAL, munmap(memory + 1, LENGTH));
  CHECK(check_map(fd, page_table, memory, LENGTH / 2, MAP_IOVA) == 0);
  CHECK(ioas_unmap(fd, ioas, MAP_IOVA, LENGTH) == LENGTH);
  munmap(memory, LENGTH / 2);
}

int main(void) {
  int fd = open_iommu(O_CLOEXEC);
  REQUIRE(fd >= 0);
  for (int how = UNMAP_AND_MAP; how <= DROP_PAGES; how++) run(fd, (enum replacement)how);
  run_in_place(fd);
  close(fd);
  return finish_tests();
}
