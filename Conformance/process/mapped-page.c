// SPDX-License-Identifier: Apache-2.0
// A page of a vIOMMU mapped into the process: it pins its owner until the last mapping of it is gone, whether
// in this process or a forked one, unmapped or mapped over; and it outlives the descriptor.
#include "process.h"

#define IN_DATA 0xbeefu

struct page_owner {
  int fd;
  uint32_t viommu;
  struct test_viommu_data data;
};

static struct page_owner make_owner(void) {
  struct page_owner owner = {.fd = open_iommu(O_CLOEXEC), .data = {.in_data = IN_DATA}};
  uint32_t ioas, page_table, device;
  REQUIRE(owner.fd >= 0);
  REQUIRE(ioas_alloc(owner.fd, &ioas) == 0);
  REQUIRE(mock_device(owner.fd, ioas, &page_table, &device) == 0);
  struct iommu_hwpt_alloc parent = {
      .size = sizeof parent, .flags = IOMMU_HWPT_ALLOC_NEST_PARENT, .dev_id = device, .pt_id = ioas};
  REQUIRE(ioctl(owner.fd, IOMMU_HWPT_ALLOC, &parent) == 0);
  struct iommu_viommu_alloc viommu = {.size = sizeof viommu,
                                      .type = TEST_TYPE,
                                      .dev_id = device,
                                      .hwpt_id = parent.out_hwpt_id,
                                      .data_len = sizeof owner.data,
                                      .data_uptr = (uintptr_t)&owner.data};
  REQUIRE(ioctl(owner.fd, IOMMU_VIOMMU_ALLOC, &viommu) == 0);
  REQUIRE(owner.data.out_data == IN_DATA);
  owner.viommu = viommu.out_viommu_id;
  return owner;
}

static uint32_t *map_page(const struct page_owner *owner, void *where) {
  int fixed = where ? MAP_FIXED : 0;
  void *page = mmap(where, owner->data.out_mmap_length, PROT_READ | PROT_WRITE, MAP_SHARED | fixed, owner->fd,
                    (off_t)owner->data.out_mmap_offset);
  REQUIRE(page != MAP_FAILED);
  CHECK(*(uint32_t *)page == IN_DATA);
  return page;
}

static void unmapping_frees(void) {
  struct page_owner owner = make_owner();
  uint32_t *page = map_page(&owner, NULL), *again = map_page(&owner, NULL);
  CHECK_ERROR(EBUSY, destroy(owner.fd, owner.viommu));
  CHECK(munmap(page, owner.data.out_mmap_length) == 0);
  CHECK_ERROR(EBUSY, destroy(owner.fd, owner.viommu));
  CHECK(munmap(again, owner.data.out_mmap_length) == 0);
  CHECK(destroy(owner.fd, owner.viommu) == 0);
  close(owner.fd);
}

static void mapping_over_frees(void) {
  struct page_owner owner = make_owner();
  uint32_t *page = map_page(&owner, NULL);
  CHECK_ERROR(EBUSY, destroy(owner.fd, owner.viommu));
  CHECK(private_pages(page, owner.data.out_mmap_length) == page);
  CHECK(*page == 0);
  CHECK(destroy(owner.fd, owner.viommu) == 0);
  munmap(page, owner.data.out_mmap_length);
  close(owner.fd);
}

static void child_keeps_it(void) {
  struct page_owner owner = make_owner();
  uint32_t *page = map_page(&owner, NULL);
  int go[2], done[2];
  char byte = 0;
  REQUIRE(pipe2(go, O_CLOEXEC) == 0 && pipe2(done, O_CLOEXEC) == 0);
  pid_t child = fork();
  if (child == 0) {
    close(owner.fd);
    *page = IN_DATA + 1;
    if (write(done[1], &byte, 1) != 1 || read(go[0], &byte, 1) != 1) _exit(2);
    _exit(*page != IN_DATA + 2);
  }
  CHECK(read(done[0], &byte, 1) == 1);
  CHECK(*page == IN_DATA + 1); /* one page, seen by both */
  *page = IN_DATA + 2;
  CHECK(munmap(page, owner.data.out_mmap_length) == 0);
  CHECK_ERROR(EBUSY, destroy(owner.fd, owner.viommu));
  CHECK(write(go[1], &byte, 1) == 1);
  CHECK(reap(child) == 0);
  CHECK(destroy(owner.fd, owner.viommu) == 0);
  close(owner.fd);
  close(go[0]);
  close(go[1]);
  close(done[0]);
  close(done[1]);
}

static void page_outlives_descriptor(void) {
  struct page_owner owner = make_owner();
  uint32_t *page = map_page(&owner, NULL);
  CHECK(close(owner.fd) == 0);
  CHECK(*page == IN_DATA);
  *page = 7;
  struct page_owner other = make_owner(); /* may get the number, not the page */
  uint32_t *its = map_page(&other, NULL);
  CHECK(*page == 7 && *its == IN_DATA);
  CHECK(munmap(page, owner.data.out_mmap_length) == 0);
  CHECK(*its == IN_DATA);
  munmap(its, other.data.out_mmap_length);
  close(other.fd);
}

static void only_as_a_whole(void) {
  struct page_owner owner = make_owner();
  size_t length = owner.data.out_mmap_length;
  off_t offset = (off_t)owner.data.out_mmap_offset;
  CHECK(mmap(NULL, length, PROT_READ, MAP_SHARED, owner.fd, offset + PAGE) == MAP_FAILED && errno == ENXIO);
  CHECK(mmap(NULL, length * 2, PROT_READ, MAP_SHARED, owner.fd, offset) == MAP_FAILED && errno == ENXIO);
  CHECK(mmap(NULL, length, PROT_READ, MAP_PRIVATE, owner.fd, offset) == MAP_FAILED && errno == EINVAL);
  CHECK(mmap(NULL, length, PROT_READ | PROT_EXEC, MAP_SHARED, owner.fd, offset) == MAP_FAILED && errno == EPERM);
  CHECK(destroy(owner.fd, owner.viommu) == 0);
  close(owner.fd);
}

int main(void) {
  unmapping_frees();
  mapping_over_frees();
  child_keeps_it();
  page_outlives_descriptor();
  only_as_a_whole();
  return finish_tests();
}
