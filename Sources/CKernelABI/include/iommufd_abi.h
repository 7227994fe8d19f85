// SPDX-License-Identifier: Apache-2.0
// What a client says to /dev/iommu. Every argument starts with its own size in bytes.
#ifndef VIADUCT_IOMMUFD_ABI_H
#define VIADUCT_IOMMUFD_ABI_H

#include <stdint.h>

// Command numbers: the low byte of the ioctl request.
static const uint32_t IOMMUFD_CMD_BASE = 0x80;
static const uint32_t IOMMUFD_CMD_DESTROY = 0x80;
static const uint32_t IOMMUFD_CMD_IOAS_ALLOC = 0x81;
static const uint32_t IOMMUFD_CMD_IOAS_ALLOW_IOVAS = 0x82;
static const uint32_t IOMMUFD_CMD_IOAS_COPY = 0x83;
static const uint32_t IOMMUFD_CMD_IOAS_IOVA_RANGES = 0x84;
static const uint32_t IOMMUFD_CMD_IOAS_MAP = 0x85;
static const uint32_t IOMMUFD_CMD_IOAS_UNMAP = 0x86;
static const uint32_t IOMMUFD_CMD_OPTION = 0x87;
static const uint32_t IOMMUFD_CMD_VFIO_IOAS = 0x88;
static const uint32_t IOMMUFD_CMD_HWPT_ALLOC = 0x89;
static const uint32_t IOMMUFD_CMD_GET_HW_INFO = 0x8a;
static const uint32_t IOMMUFD_CMD_HWPT_SET_DIRTY_TRACKING = 0x8b;
static const uint32_t IOMMUFD_CMD_HWPT_GET_DIRTY_BITMAP = 0x8c;
static const uint32_t IOMMUFD_CMD_HWPT_INVALIDATE = 0x8d;
static const uint32_t IOMMUFD_CMD_FAULT_QUEUE_ALLOC = 0x8e;
static const uint32_t IOMMUFD_CMD_IOAS_MAP_FILE = 0x8f;
static const uint32_t IOMMUFD_CMD_VIOMMU_ALLOC = 0x90;
static const uint32_t IOMMUFD_CMD_VDEVICE_ALLOC = 0x91;
static const uint32_t IOMMUFD_CMD_IOAS_CHANGE_PROCESS = 0x92;
static const uint32_t IOMMUFD_CMD_VEVENTQ_ALLOC = 0x93;
static const uint32_t IOMMUFD_CMD_HW_QUEUE_ALLOC = 0x94;
static const uint32_t IOMMUFD_CMD_IOAS_NOIOMMU_GET_PA = 0x95;

// The ioctl type byte, shared with VFIO.
static const uint32_t VIADUCT_IOCTL_TYPE = 0x3b;

/// The whole ioctl request for a command number; direction and size bits are zero.
static inline uint32_t viaduct_ioctl_request(uint32_t command) {
  return VIADUCT_IOCTL_TYPE << 8 | command;
}

// Removes any object by its id.
struct iommu_destroy {
  uint32_t size;
  uint32_t id;
};

// Makes an empty I/O address space.
struct iommu_ioas_alloc {
  uint32_t size;
  uint32_t flags;
  uint32_t out_ioas_id;
};

// A closed interval of I/O addresses.
struct iommu_iova_range {
  uint64_t start;
  uint64_t last;
};

// Asks which addresses of a space may be mapped, and how finely.
struct iommu_ioas_iova_ranges {
  uint32_t size;
  uint32_t ioas_id;
  uint32_t num_iovas;  // room in the array, then the number there are
  uint32_t reserved;
  uint64_t allowed_iovas;  // pointer to iommu_iova_range[]
  uint64_t out_iova_alignment;
};

// Promises ranges that later devices must not take away.
struct iommu_ioas_allow_iovas {
  uint32_t size;
  uint32_t ioas_id;
  uint32_t num_iovas;
  uint32_t reserved;
  uint64_t allowed_iovas;  // pointer to iommu_iova_range[]
};

// Flags of map, map_file and copy.
static const uint32_t IOMMU_IOAS_MAP_FIXED_IOVA = 1u << 0;
static const uint32_t IOMMU_IOAS_MAP_WRITEABLE = 1u << 1;
static const uint32_t IOMMU_IOAS_MAP_READABLE = 1u << 2;

// Maps memory of the calling process.
struct iommu_ioas_map {
  uint32_t size;
  uint32_t flags;
  uint32_t ioas_id;
  uint32_t reserved;
  uint64_t user_va;
  uint64_t length;
  uint64_t iova;  // chosen by the host unless FIXED_IOVA
};

// Asks for the physical address behind an I/O address, for devices without an IOMMU.
struct iommu_ioas_noiommu_get_pa {
  uint32_t size;
  uint32_t flags;
  uint32_t ioas_id;
  uint32_t reserved;
  uint64_t iova;
  uint64_t length;  // most to report, then the contiguous bytes found
  uint64_t out_phys;
};

// Maps a part of a file instead of process memory.
struct iommu_ioas_map_file {
  uint32_t size;
  uint32_t flags;
  uint32_t ioas_id;
  int32_t fd;
  uint64_t start;  // byte offset in the file
  uint64_t length;
  uint64_t iova;
};

// Maps in one space what another one maps already.
struct iommu_ioas_copy {
  uint32_t size;
  uint32_t flags;
  uint32_t dst_ioas_id;
  uint32_t src_ioas_id;
  uint64_t length;
  uint64_t dst_iova;
  uint64_t src_iova;
};

// Removes whole mappings; 0 and the largest length mean all of them.
struct iommu_ioas_unmap {
  uint32_t size;
  uint32_t ioas_id;
  uint64_t iova;
  uint64_t length;  // then the bytes removed
};

static const uint32_t IOMMU_OPTION_RLIMIT_MODE = 0;  // account by user (0) or by process (1)
static const uint32_t IOMMU_OPTION_HUGE_PAGES = 1;   // join contiguous pages into large leaves

static const uint16_t IOMMU_OPTION_OP_SET = 0;
static const uint16_t IOMMU_OPTION_OP_GET = 1;

// Sets or reads one option of the context or of an object.
struct iommu_option {
  uint32_t size;
  uint32_t option_id;
  uint16_t op;
  uint16_t reserved;
  uint32_t object_id;
  uint64_t val64;
};

static const uint16_t IOMMU_VFIO_IOAS_GET = 0;
static const uint16_t IOMMU_VFIO_IOAS_SET = 1;
static const uint16_t IOMMU_VFIO_IOAS_CLEAR = 2;

// Names the space that the VFIO commands, which know no ids, work on.
struct iommu_vfio_ioas {
  uint32_t size;
  uint32_t ioas_id;
  uint16_t op;
  uint16_t reserved;
};

static const uint32_t IOMMU_HWPT_ALLOC_NEST_PARENT = 1u << 0;
static const uint32_t IOMMU_HWPT_ALLOC_DIRTY_TRACKING = 1u << 1;
static const uint32_t IOMMU_HWPT_FAULT_ID_VALID = 1u << 2;
static const uint32_t IOMMU_HWPT_ALLOC_PASID = 1u << 3;

static const uint32_t IOMMU_HWPT_DATA_NONE = 0;

// Makes a page table: of a space, or nested in a parent or in a virtual IOMMU.
struct iommu_hwpt_alloc {
  uint32_t size;
  uint32_t flags;
  uint32_t dev_id;
  uint32_t pt_id;
  uint32_t out_hwpt_id;
  uint32_t reserved;
  uint32_t data_type;
  uint32_t data_len;
  uint64_t data_uptr;
  uint32_t fault_id;
  uint32_t reserved2;
};

static const uint32_t IOMMU_HW_INFO_TYPE_NONE = 0;
static const uint32_t IOMMU_HW_INFO_TYPE_DEFAULT = 0;

static const uint64_t IOMMU_HW_CAP_DIRTY_TRACKING = 1u << 0;
static const uint64_t IOMMU_HW_CAP_PCI_PASID_EXEC = 1u << 1;
static const uint64_t IOMMU_HW_CAP_PCI_PASID_PRIV = 1u << 2;
static const uint64_t IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED = 1u << 3;

static const uint32_t IOMMU_HW_INFO_FLAG_INPUT_TYPE = 1u << 0;

// Describes the IOMMU in front of a device.
struct iommu_hw_info {
  uint32_t size;
  uint32_t flags;
  uint32_t dev_id;
  uint32_t data_len;
  uint64_t data_uptr;
  uint32_t data_type;  // in_data_type (with INPUT_TYPE), then out_data_type
  uint8_t out_max_pasid_log2;
  uint8_t reserved[3];
  uint64_t out_capabilities;
};

static const uint32_t IOMMU_HWPT_DIRTY_TRACKING_ENABLE = 1;

// Switches the recording of written pages on or off.
struct iommu_hwpt_set_dirty_tracking {
  uint32_t size;
  uint32_t flags;
  uint32_t hwpt_id;
  uint32_t reserved;
};

static const uint32_t IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR = 1;

// Collects the written pages of a range into a bitmap.
struct iommu_hwpt_get_dirty_bitmap {
  uint32_t size;
  uint32_t hwpt_id;
  uint32_t flags;
  uint32_t reserved;
  uint64_t iova;
  uint64_t length;
  uint64_t page_size;
  uint64_t data;  // pointer to the bitmap, one bit a page
};

// Hands an array of invalidation requests to a nested table or a virtual IOMMU.
struct iommu_hwpt_invalidate {
  uint32_t size;
  uint32_t hwpt_id;  // or the id of a virtual IOMMU
  uint64_t data_uptr;
  uint32_t data_type;
  uint32_t entry_len;
  uint32_t entry_num;  // then the number of requests done
  uint32_t reserved;
};

static const uint32_t IOMMU_PGFAULT_FLAGS_PASID_VALID = 1u << 0;
static const uint32_t IOMMU_PGFAULT_FLAGS_LAST_PAGE = 1u << 1;

static const uint32_t IOMMU_PGFAULT_PERM_READ = 1u << 0;
static const uint32_t IOMMU_PGFAULT_PERM_WRITE = 1u << 1;
static const uint32_t IOMMU_PGFAULT_PERM_EXEC = 1u << 2;
static const uint32_t IOMMU_PGFAULT_PERM_PRIV = 1u << 3;

// A page request as a client reads it from a fault queue.
struct iommu_hwpt_pgfault {
  uint32_t flags;
  uint32_t dev_id;
  uint32_t pasid;
  uint32_t grpid;
  uint32_t perm;
  uint32_t reserved;
  uint64_t addr;
  uint32_t length;
  uint32_t cookie;
};

static const uint32_t IOMMUFD_PAGE_RESP_SUCCESS = 0;
static const uint32_t IOMMUFD_PAGE_RESP_INVALID = 1;

// The client's answer to one group of page requests, written to the fault queue.
struct iommu_hwpt_page_response {
  uint32_t cookie;
  uint32_t code;
};

// Makes a fault queue.
struct iommu_fault_alloc {
  uint32_t size;
  uint32_t flags;
  uint32_t out_fault_id;
  uint32_t out_fault_fd;
};

static const uint32_t IOMMU_VIOMMU_TYPE_DEFAULT = 0;

// Makes a virtual IOMMU over a nesting parent.
struct iommu_viommu_alloc {
  uint32_t size;
  uint32_t flags;
  uint32_t type;
  uint32_t dev_id;
  uint32_t hwpt_id;
  uint32_t out_viommu_id;
  uint32_t data_len;
  uint32_t reserved;
  uint64_t data_uptr;
};

// Gives a device its name in a virtual IOMMU.
struct iommu_vdevice_alloc {
  uint32_t size;
  uint32_t viommu_id;
  uint32_t dev_id;
  uint32_t out_vdevice_id;
  uint64_t virt_id;
};

// Moves the accounting of file mappings to the calling process.
struct iommu_ioas_change_process {
  uint32_t size;
  uint32_t reserved;
};

static const uint32_t IOMMU_VEVENTQ_FLAG_LOST_EVENTS = 1u << 0;

// Precedes each event; alone, with LOST_EVENTS, it marks a gap.
struct iommufd_vevent_header {
  uint32_t flags;
  uint32_t sequence;
};

static const uint32_t IOMMU_VEVENTQ_TYPE_DEFAULT = 0;

// Makes an event queue of a virtual IOMMU.
struct iommu_veventq_alloc {
  uint32_t size;
  uint32_t flags;
  uint32_t viommu_id;
  uint32_t type;
  uint32_t veventq_depth;
  uint32_t out_veventq_id;
  uint32_t out_veventq_fd;
  uint32_t reserved;
};

static const uint32_t IOMMU_HW_QUEUE_TYPE_DEFAULT = 0;

// Gives a hardware queue in guest memory to a virtual IOMMU.
struct iommu_hw_queue_alloc {
  uint32_t size;
  uint32_t flags;
  uint32_t viommu_id;
  uint32_t type;
  uint32_t index;
  uint32_t out_hw_queue_id;
  uint64_t nesting_parent_iova;
  uint64_t length;
};

#endif
