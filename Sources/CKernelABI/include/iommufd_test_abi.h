// SPDX-License-Identifier: Apache-2.0
// The private command of the mock IOMMU, by which the kernel's selftests play device and hardware.
#ifndef VIADUCT_IOMMUFD_TEST_ABI_H
#define VIADUCT_IOMMUFD_TEST_ABI_H

#include <stdint.h>

static const uint32_t IOMMUFD_CMD_TEST = 0xa0;

// Operations.
static const uint32_t IOMMU_TEST_OP_ADD_RESERVED = 1;
static const uint32_t IOMMU_TEST_OP_MOCK_DOMAIN = 2;
static const uint32_t IOMMU_TEST_OP_MD_CHECK_MAP = 3;
static const uint32_t IOMMU_TEST_OP_MD_CHECK_REFS = 4;
static const uint32_t IOMMU_TEST_OP_CREATE_ACCESS = 5;
static const uint32_t IOMMU_TEST_OP_DESTROY_ACCESS_PAGES = 6;
static const uint32_t IOMMU_TEST_OP_ACCESS_PAGES = 7;
static const uint32_t IOMMU_TEST_OP_ACCESS_RW = 8;
static const uint32_t IOMMU_TEST_OP_SET_TEMP_MEMORY_LIMIT = 9;
static const uint32_t IOMMU_TEST_OP_MOCK_DOMAIN_REPLACE = 10;
static const uint32_t IOMMU_TEST_OP_ACCESS_REPLACE_IOAS = 11;
static const uint32_t IOMMU_TEST_OP_MOCK_DOMAIN_FLAGS = 12;
static const uint32_t IOMMU_TEST_OP_DIRTY = 13;
static const uint32_t IOMMU_TEST_OP_MD_CHECK_IOTLB = 14;
static const uint32_t IOMMU_TEST_OP_TRIGGER_IOPF = 15;
static const uint32_t IOMMU_TEST_OP_DEV_CHECK_CACHE = 16;
static const uint32_t IOMMU_TEST_OP_TRIGGER_VEVENT = 17;
static const uint32_t IOMMU_TEST_OP_PASID_ATTACH = 18;
static const uint32_t IOMMU_TEST_OP_PASID_REPLACE = 19;
static const uint32_t IOMMU_TEST_OP_PASID_DETACH = 20;
static const uint32_t IOMMU_TEST_OP_PASID_CHECK_HWPT = 21;
static const uint32_t IOMMU_TEST_OP_DMABUF_GET = 22;
static const uint32_t IOMMU_TEST_OP_DMABUF_REVOKE = 23;

// Page table formats of the mock.
static const uint32_t MOCK_IOMMUPT_DEFAULT = 0;
static const uint32_t MOCK_IOMMUPT_HUGE = 1;

// The default format's aperture and leaf sizes.
static const uint64_t MOCK_APERTURE_START = 1ull << 24;
static const uint64_t MOCK_APERTURE_LAST = (1ull << 31) - 1;
static const uint64_t MOCK_PAGE_SIZE = 2048;
static const uint64_t MOCK_HUGE_PAGE_SIZE = 512 * 2048;

static const uint32_t MOCK_FLAGS_ACCESS_WRITE = 1u << 0;
static const uint32_t MOCK_FLAGS_ACCESS_SYZ = 1u << 16;

static const uint32_t MOCK_ACCESS_RW_WRITE = 1u << 0;
static const uint32_t MOCK_ACCESS_RW_SLOW_PATH = 1u << 2;

static const uint32_t MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES = 1u << 0;

static const uint32_t MOCK_FLAGS_DEVICE_NO_DIRTY = 1u << 0;
static const uint32_t MOCK_FLAGS_DEVICE_PASID = 1u << 2;

static const uint32_t MOCK_NESTED_DOMAIN_IOTLB_ID_MAX = 3;
static const uint32_t MOCK_NESTED_DOMAIN_IOTLB_NUM = 4;
static const uint32_t MOCK_DEV_CACHE_ID_MAX = 3;
static const uint32_t MOCK_DEV_CACHE_NUM = 4;

static const uint32_t IOMMU_TEST_PASID_RESERVED = 1024;
static const uint32_t MOCK_PASID_WIDTH = 20;

struct iommu_test_add_reserved {
  uint64_t start;
  uint64_t length;
};

struct iommu_test_mock_domain {
  uint32_t out_stdev_id;
  uint32_t out_hwpt_id;
  uint32_t out_idev_id;
};

struct iommu_test_mock_domain_flags {
  uint32_t out_stdev_id;
  uint32_t out_hwpt_id;
  uint32_t out_idev_id;
  uint32_t dev_flags;
};

struct iommu_test_mock_domain_replace {
  uint32_t pt_id;
};

struct iommu_test_check_map {
  uint64_t iova;
  uint64_t length;
  uint64_t uptr;
};

struct iommu_test_check_refs {
  uint64_t length;
  uint64_t uptr;
  uint32_t refs;
};

struct iommu_test_create_access {
  uint32_t out_access_fd;
  uint32_t flags;
};

struct iommu_test_destroy_access_pages {
  uint32_t access_pages_id;
};

struct iommu_test_access_pages {
  uint32_t flags;
  uint32_t out_access_pages_id;
  uint64_t iova;
  uint64_t length;
  uint64_t uptr;
};

struct iommu_test_access_rw {
  uint64_t iova;
  uint64_t length;
  uint64_t uptr;
  uint32_t flags;
};

struct iommu_test_memory_limit {
  uint32_t limit;
};

struct iommu_test_access_replace_ioas {
  uint32_t ioas_id;
};

struct iommu_test_dirty {
  uint32_t flags;
  uint64_t iova;
  uint64_t length;
  uint64_t page_size;
  uint64_t uptr;
  uint64_t out_nr_dirty;
};

struct iommu_test_check_iotlb {
  uint32_t id;
  uint32_t iotlb;
};

struct iommu_test_trigger_iopf {
  uint32_t dev_id;
  uint32_t pasid;
  uint32_t grpid;
  uint32_t perm;
  uint64_t addr;
};

struct iommu_test_check_dev_cache {
  uint32_t id;
  uint32_t cache;
};

struct iommu_test_trigger_vevent {
  uint32_t dev_id;
};

struct iommu_test_pasid_attach {
  uint32_t pasid;
  uint32_t pt_id;
};

struct iommu_test_pasid_replace {
  uint32_t pasid;
  uint32_t pt_id;
};

struct iommu_test_pasid_detach {
  uint32_t pasid;
};

struct iommu_test_pasid_check {
  uint32_t pasid;
  uint32_t hwpt_id;
};

struct iommu_test_dmabuf_get {
  uint32_t length;
  uint32_t open_flags;
};

struct iommu_test_dmabuf_revoke {
  int32_t dmabuf_fd;
  uint32_t revoked;
};

// The arguments of the operations share one place.
union iommu_test_arguments {
  struct iommu_test_add_reserved add_reserved;
  struct iommu_test_mock_domain mock_domain;
  struct iommu_test_mock_domain_flags mock_domain_flags;
  struct iommu_test_mock_domain_replace mock_domain_replace;
  struct iommu_test_check_map check_map;
  struct iommu_test_check_refs check_refs;
  struct iommu_test_create_access create_access;
  struct iommu_test_destroy_access_pages destroy_access_pages;
  struct iommu_test_access_pages access_pages;
  struct iommu_test_access_rw access_rw;
  struct iommu_test_memory_limit memory_limit;
  struct iommu_test_access_replace_ioas access_replace_ioas;
  struct iommu_test_dirty dirty;
  struct iommu_test_check_iotlb check_iotlb;
  struct iommu_test_trigger_iopf trigger_iopf;
  struct iommu_test_check_dev_cache check_dev_cache;
  struct iommu_test_trigger_vevent trigger_vevent;
  struct iommu_test_pasid_attach pasid_attach;
  struct iommu_test_pasid_replace pasid_replace;
  struct iommu_test_pasid_detach pasid_detach;
  struct iommu_test_pasid_check pasid_check;
  struct iommu_test_dmabuf_get dmabuf_get;
  struct iommu_test_dmabuf_revoke dmabuf_revoke;
};

// The argument of the test command; which member counts, `op` says.
struct iommu_test_cmd {
  uint32_t size;
  uint32_t op;
  uint32_t id;
  uint32_t reserved;
  union iommu_test_arguments arguments;  // without a name of its own in the kernel
  uint32_t last;
};

// Types that the mock gives to its own data wherever the interface asks for one.
static const uint32_t IOMMU_HW_INFO_TYPE_SELFTEST = 0xfeedbeef;
static const uint32_t IOMMU_HW_INFO_SELFTEST_REGVAL = 0xdeadbeef;
static const uint32_t IOMMU_HWPT_DATA_SELFTEST = 0xdead;
static const uint32_t IOMMU_TEST_IOTLB_DEFAULT = 0xbadbeef;
static const uint32_t IOMMU_TEST_DEV_CACHE_DEFAULT = 0xbaddad;
static const uint32_t IOMMU_HWPT_INVALIDATE_DATA_SELFTEST = 0xdeadbeef;
static const uint32_t IOMMU_HWPT_INVALIDATE_DATA_SELFTEST_INVALID = 0xdadbeef;
static const uint32_t IOMMU_VIOMMU_TYPE_SELFTEST = 0xdeadbeef;
static const uint32_t IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST = 0xdeadbeef;
static const uint32_t IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST_INVALID = 0xdadbeef;
static const uint32_t IOMMU_VEVENTQ_TYPE_SELFTEST = 0xbeefbeef;
static const uint32_t IOMMU_HW_QUEUE_TYPE_SELFTEST = 0xdeadbeef;
static const uint32_t IOMMU_TEST_HW_QUEUE_MAX = 2;
static const uint32_t IOMMU_TEST_INVALIDATE_FLAG_ALL = 1u << 0;

// Hardware description of the mock.
struct iommu_test_hw_info {
  uint32_t flags;
  uint32_t test_reg;
};

// Data for a mock page table, nested or not.
struct iommu_hwpt_selftest {
  uint32_t iotlb;
  uint32_t pagetable_type;
};

// One invalidation of a nested mock table.
struct iommu_hwpt_invalidate_selftest {
  uint32_t flags;
  uint32_t iotlb_id;
};

// Data for a mock virtual IOMMU: the input word comes back, and where to mmap its page.
struct iommu_viommu_selftest {
  uint32_t in_data;
  uint32_t out_data;
  uint64_t out_mmap_offset;
  uint64_t out_mmap_length;
};

// One invalidation of a virtual device's cache.
struct iommu_viommu_invalidate_selftest {
  uint32_t flags;
  uint32_t vdev_id;
  uint32_t cache_id;
};

// An event of a mock virtual device.
struct iommu_viommu_event_selftest {
  uint32_t virt_id;
};

#endif
