// SPDX-License-Identifier: Apache-2.0
// A first client: gives a device a view of this process's memory, looks at it from the device's
// side, and takes it away again. It runs on a Linux 7.3 with iommufd's test driver just as well.
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "CKernelABI.h"

enum { PAGE = 4096, PAGES = 4 };

static int iommu;

static int command(uint32_t number, void *argument) {
  return ioctl(iommu, viaduct_ioctl_request(number), argument);
}

static int test(struct iommu_test_cmd *argument) {
  argument->size = sizeof *argument;
  return command(IOMMUFD_CMD_TEST, argument);
}

static void need(int succeeded, const char *what) {
  if (succeeded) return;
  printf("  %s: %s\n", what, strerror(errno));
  exit(EXIT_FAILURE);
}

// Asks the mock unit to translate one page and to compare what it reaches with a page of ours.
static int reaches(uint32_t page_table, uint64_t iova, const void *page) {
  struct iommu_test_cmd check = {.op = IOMMU_TEST_OP_MD_CHECK_MAP, .id = page_table};
  check.arguments.check_map.iova = iova;
  check.arguments.check_map.length = PAGE;
  check.arguments.check_map.uptr = (uintptr_t)page;
  return test(&check) == 0;
}

// Moves bytes as a device would: by I/O address, never by ours.
static int device_moves(uint32_t access, uint64_t iova, void *bytes, size_t count, uint32_t flags) {
  struct iommu_test_cmd transfer = {.op = IOMMU_TEST_OP_ACCESS_RW, .id = access};
  transfer.arguments.access_rw.iova = iova;
  transfer.arguments.access_rw.length = count;
  transfer.arguments.access_rw.uptr = (uintptr_t)bytes;
  transfer.arguments.access_rw.flags = flags;
  return test(&transfer) == 0;
}

int main(void) {
  printf("1. A context: opening /dev/iommu.\n");
  iommu = open("/dev/iommu", O_RDWR | O_CLOEXEC);
  if (iommu < 0) {
    printf("  %s. Run me as: viaduct run -- hello-iommu\n", strerror(errno));
    return EXIT_FAILURE;
  }

  struct iommu_ioas_alloc space = {.size = sizeof space};
  need(command(IOMMUFD_CMD_IOAS_ALLOC, &space) == 0, "IOAS_ALLOC");
  printf("2. An empty I/O address space: object %u.\n", space.out_ioas_id);

  struct iommu_test_cmd device = {.op = IOMMU_TEST_OP_MOCK_DOMAIN, .id = space.out_ioas_id};
  need(test(&device) == 0, "MOCK_DOMAIN");
  uint32_t device_id = device.arguments.mock_domain.out_stdev_id;
  uint32_t page_table = device.arguments.mock_domain.out_hwpt_id;
  printf("3. A mock device behind a mock IOMMU, attached to it: device %u, page table %u.\n",
         device_id, page_table);

  char *memory =
      mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  need(memory != MAP_FAILED, "mmap");
  for (int page = 0; page < PAGES; page++)
    snprintf(memory + page * PAGE, PAGE, "this is page %d", page);
  struct iommu_ioas_map map = {
      .size = sizeof map,
      .flags = IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE,
      .ioas_id = space.out_ioas_id,
      .user_va = (uintptr_t)memory,
      .length = PAGES * PAGE,
  };
  need(command(IOMMUFD_CMD_IOAS_MAP, &map) == 0, "IOAS_MAP");
  printf("4. %d pages of memory, mapped for the device at 0x%llx.\n", PAGES,
         (unsigned long long)map.iova);

  printf("5. The mock IOMMU walks its table:\n");
  for (int page = 0; page < PAGES; page++) {
    uint64_t iova = map.iova + (uint64_t)page * PAGE;
    need(reaches(page_table, iova, memory + page * PAGE), "MD_CHECK_MAP");
    printf("   0x%llx leads to page %d.\n", (unsigned long long)iova, page);
  }
  need(!reaches(page_table, map.iova, memory + PAGE), "a wrong expectation was accepted");
  printf("   0x%llx does not lead to page 1, and it says so: %s.\n",
         (unsigned long long)map.iova, strerror(errno));

  struct iommu_test_cmd access = {.op = IOMMU_TEST_OP_CREATE_ACCESS, .id = space.out_ioas_id};
  need(test(&access) == 0, "CREATE_ACCESS");
  uint32_t door = access.arguments.create_access.out_access_fd;
  char text[32] = "";
  need(device_moves(door, map.iova + 2 * PAGE, text, 15, 0), "ACCESS_RW, reading");
  printf("6. A device without page table of its own reads \"%s\"", text);
  static char greeting[] = "the device was here";
  need(device_moves(door, map.iova + 3 * PAGE, greeting, sizeof greeting, MOCK_ACCESS_RW_WRITE),
       "ACCESS_RW, writing");
  need(strcmp(memory + 3 * PAGE, greeting) == 0, "the device's write did not arrive");
  printf(" and writes: page 3 is now \"%s\".\n", memory + 3 * PAGE);

  struct iommu_ioas_unmap unmap = {sizeof unmap, space.out_ioas_id, map.iova, map.length};
  need(command(IOMMUFD_CMD_IOAS_UNMAP, &unmap) == 0, "IOAS_UNMAP");
  need(!device_moves(door, map.iova, text, sizeof text, 0), "the device still reads");
  printf("7. Unmapped %llu bytes. The device tries again: %s.\n", (unsigned long long)unmap.length,
         strerror(errno));

  close((int)door);
  struct iommu_destroy destroy = {sizeof destroy, device_id};
  need(command(IOMMUFD_CMD_DESTROY, &destroy) == 0, "DESTROY of the device");
  destroy.id = space.out_ioas_id;
  need(command(IOMMUFD_CMD_DESTROY, &destroy) == 0, "DESTROY of the address space");
  close(iommu);
  printf("8. Everything is given back.\n");
  return EXIT_SUCCESS;
}
