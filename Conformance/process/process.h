// SPDX-License-Identifier: Apache-2.0
// What the programs share: a check that prints what failed, and the few iommufd calls they make.
#ifndef VIADUCT_PROCESS_TESTS_H
#define VIADUCT_PROCESS_TESTS_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <linux/iommufd.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096u
#define MAP_IOVA (1ull << 24) /* where the mock device's aperture begins */
#define MAP_FLAGS (IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE)

static int failures;

#define CHECK(condition)                                                                       \
  do {                                                                                         \
    if (!(condition)) {                                                                        \
      int error = errno;                                                                       \
      failures++;                                                                              \
      printf("%s:%d: failed: %s (errno %d, %s)\n", __FILE__, __LINE__, #condition, error, strerror(error)); \
    }                                                                                          \
  } while (0)

#define REQUIRE(condition)                                                                     \
  do {                                                                                         \
    int before = failures;                                                                     \
    CHECK(condition);                                                                          \
    if (failures != before) exit(1);                                                           \
  } while (0)

/* The call fails with this errno. */
#define CHECK_ERROR(expected, call) CHECK((errno = 0, (call) < 0) && errno == (expected))

/* The test ioctl of Linux's mock device, Linux 7.3: four words, the operation's own, and an end. */
enum test_operation { TEST_MOCK_DOMAIN = 2, TEST_CHECK_MAP = 3, TEST_CREATE_ACCESS = 5, TEST_ACCESS_RW = 8 };
#define TEST_COMMAND _IO(IOMMUFD_TYPE, IOMMUFD_CMD_BASE + 32)
#define TEST_ACCESS_WRITE 1u
#define TEST_TYPE 0xdeadbeefu /* of a vIOMMU */

struct test_command {
  uint32_t size, operation, id, reserved;
  union {
    uint32_t words[12];
    uint64_t longs[6];
  };
  uint32_t last;
};
_Static_assert(sizeof(struct test_command) == 72, "as the kernel's");

struct test_viommu_data {
  uint32_t in_data, out_data;
  uint64_t out_mmap_offset, out_mmap_length;
};

static inline int open_iommu(int flags) { return open("/dev/iommu", O_RDWR | flags); }

static inline int ioas_alloc(int fd, uint32_t *id) {
  struct iommu_ioas_alloc command = {.size = sizeof command};
  int result = ioctl(fd, IOMMU_IOAS_ALLOC, &command);
  *id = command.out_ioas_id;
  return result;
}

static inline int destroy(int fd, uint32_t id) {
  struct iommu_destroy command = {.size = sizeof command, .id = id};
  return ioctl(fd, IOMMU_DESTROY, &command);
}

static inline int ioas_map(int fd, uint32_t ioas, void *memory, uint64_t length, uint64_t iova) {
  struct iommu_ioas_map command = {.size = sizeof command,
                                   .flags = MAP_FLAGS,
                                   .ioas_id = ioas,
                                   .user_va = (uintptr_t)memory,
                                   .length = length,
                                   .iova = iova};
  return ioctl(fd, IOMMU_IOAS_MAP, &command);
}

/* The number of bytes unmapped, or -1. */
static inline int64_t ioas_unmap(int fd, uint32_t ioas, uint64_t iova, uint64_t length) {
  struct iommu_ioas_unmap command = {.size = sizeof command, .ioas_id = ioas, .iova = iova, .length = length};
  return ioctl(fd, IOMMU_IOAS_UNMAP, &command) == 0 ? (int64_t)command.length : -1;
}

/* A mock device attached to the IOAS. */
static inline int mock_device(int fd, uint32_t ioas, uint32_t *page_table, uint32_t *device) {
  struct test_command command = {.size = sizeof command, .operation = TEST_MOCK_DOMAIN, .id = ioas};
  int result = ioctl(fd, TEST_COMMAND, &command);
  *page_table = command.words[1];
  *device = command.words[2];
  return result;
}

/* Is the device's memory at the IOVA this memory? */
static inline int check_map(int fd, uint32_t page_table, void *memory, uint64_t length, uint64_t iova) {
  struct test_command command = {.size = sizeof command,
                                 .operation = TEST_CHECK_MAP,
                                 .id = page_table,
                                 .longs = {iova, length, (uintptr_t)memory}};
  return ioctl(fd, TEST_COMMAND, &command);
}

static inline void *private_pages(void *where, uint64_t length) {
  int fixed = where ? MAP_FIXED : 0;
  return mmap(where, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | fixed, -1, 0);
}

/* An IOAS can be made and destroyed through the descriptor. */
static inline int works(int fd) {
  uint32_t id;
  return ioas_alloc(fd, &id) == 0 && destroy(fd, id) == 0;
}

/* Waits for a child; its exit status, or -1 when a signal ended it. */
static inline int reap(pid_t child) {
  int status;
  if (waitpid(child, &status, 0) != child) return -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static inline int finish_tests(void) {
  if (failures) printf("%d checks failed\n", failures);
  return failures != 0;
}

#endif
