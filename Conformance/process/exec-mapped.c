// SPDX-License-Identifier: Apache-2.0
// exec while memory is mapped: the file lives on, and no device ever writes into the program that came after.
#include "process.h"

#define LENGTH (16u * PAGE)
#define PLACE ((void *)0x610000000000ull)
#define NEW_BYTE 0x5a

static int after_exec(int fd, uint32_t ioas, int access) {
  uint8_t *memory = private_pages(PLACE, LENGTH); /* where the old program's memory was */
  REQUIRE(memory == PLACE);
  memset(memory, NEW_BYTE, LENGTH);

  uint8_t data[64];
  memset(data, 0xee, sizeof data);
  struct test_command write = {.size = sizeof write,
                               .operation = TEST_ACCESS_RW,
                               .id = (uint32_t)access,
                               .longs = {MAP_IOVA, sizeof data, (uintptr_t)data, TEST_ACCESS_WRITE}};
  (void)ioctl(fd, TEST_COMMAND, &write); /* may fail or reach the old pages, which nobody sees any more */
  for (unsigned index = 0; index < LENGTH; index++)
    if (memory[index] != NEW_BYTE) {
      CHECK(memory[index] == NEW_BYTE);
      break;
    }

  CHECK_ERROR(EEXIST, ioas_map(fd, ioas, memory, PAGE, MAP_IOVA)); /* the old mapping is still there */
  CHECK(ioas_unmap(fd, ioas, MAP_IOVA, LENGTH) == LENGTH);
  CHECK(ioas_map(fd, ioas, memory, LENGTH, MAP_IOVA) == 0);
  CHECK(ioas_unmap(fd, ioas, MAP_IOVA, LENGTH) == LENGTH);
  return finish_tests();
}

int main(int count, char **arguments) {
  if (count == 4)
    return after_exec(atoi(arguments[1]), (uint32_t)strtoul(arguments[2], NULL, 10), atoi(arguments[3]));

  int fd = open_iommu(0);
  uint32_t ioas, page_table, device;
  REQUIRE(fd >= 0);
  REQUIRE(ioas_alloc(fd, &ioas) == 0);
  REQUIRE(mock_device(fd, ioas, &page_table, &device) == 0);
  struct test_command create = {.size = sizeof create, .operation = TEST_CREATE_ACCESS, .id = ioas};
  REQUIRE(ioctl(fd, TEST_COMMAND, &create) == 0);
  int access = (int)create.words[0];
  REQUIRE(fcntl(access, F_SETFD, 0) == 0);

  void *memory = private_pages(PLACE, LENGTH);
  REQUIRE(memory == PLACE);
  memset(memory, 0xa5, LENGTH);
  REQUIRE(ioas_map(fd, ioas, memory, LENGTH, MAP_IOVA) == 0);
  CHECK(check_map(fd, page_table, memory, LENGTH, MAP_IOVA) == 0);
  if (failures) return finish_tests();

  char number[16], object[16], accessor[16];
  snprintf(number, sizeof number, "%d", fd);
  snprintf(object, sizeof object, "%u", ioas);
  snprintf(accessor, sizeof accessor, "%d", access);
  execl("/proc/self/exe", arguments[0], number, object, accessor, (char *)NULL);
  perror("exec");
  return 1;
}
