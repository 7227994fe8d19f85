// SPDX-License-Identifier: Apache-2.0
// The VFIO type1 container commands, which an iommufd answers as well.
#ifndef VIADUCT_VFIO_ABI_H
#define VIADUCT_VFIO_ABI_H

#include <stdint.h>

// Whole ioctl requests: type byte 0x3b, numbers from 100, no direction or size bits.
static const uint32_t VIADUCT_VFIO_GET_API_VERSION = 0x3b << 8 | 100;
static const uint32_t VIADUCT_VFIO_CHECK_EXTENSION = 0x3b << 8 | 101;
static const uint32_t VIADUCT_VFIO_SET_IOMMU = 0x3b << 8 | 102;
static const uint32_t VIADUCT_VFIO_IOMMU_GET_INFO = 0x3b << 8 | 112;
static const uint32_t VIADUCT_VFIO_IOMMU_MAP_DMA = 0x3b << 8 | 113;
static const uint32_t VIADUCT_VFIO_IOMMU_UNMAP_DMA = 0x3b << 8 | 114;
static const uint32_t VIADUCT_VFIO_IOMMU_DIRTY_PAGES = 0x3b << 8 | 117;

static const int32_t VIADUCT_VFIO_API_VERSION = 0;

// Extensions to ask for, and the first, third and eighth also a container's kind.
static const uint32_t VIADUCT_VFIO_TYPE1_IOMMU = 1;
static const uint32_t VIADUCT_VFIO_TYPE1v2_IOMMU = 3;
static const uint32_t VIADUCT_VFIO_DMA_CC_IOMMU = 4;
static const uint32_t VIADUCT_VFIO_TYPE1_NESTING_IOMMU = 6;  // retired, always absent
static const uint32_t VIADUCT_VFIO_NOIOMMU_IOMMU = 8;
static const uint32_t VIADUCT_VFIO_UNMAP_ALL = 9;
static const uint32_t VIADUCT_VFIO_UPDATE_VADDR = 10;

static const uint32_t VIADUCT_VFIO_IOMMU_INFO_PGSIZES = 1u << 0;
static const uint32_t VIADUCT_VFIO_IOMMU_INFO_CAPS = 1u << 1;

// What the container can do; capabilities follow when argsz leaves room.
struct vfio_iommu_type1_info {
  uint32_t argsz;
  uint32_t flags;
  uint64_t iova_pgsizes;
  uint32_t cap_offset;
  uint32_t pad;
};

// One link of a chain of capabilities.
struct vfio_info_cap_header {
  uint16_t id;
  uint16_t version;
  uint32_t next;
};

static const uint16_t VIADUCT_VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE = 1;
static const uint16_t VIADUCT_VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL = 3;

// A closed interval of I/O addresses.
struct vfio_iova_range {
  uint64_t start;
  uint64_t end;
};

// Addresses that may be mapped; an array of vfio_iova_range follows.
struct vfio_iommu_type1_info_cap_iova_range {
  struct vfio_info_cap_header header;
  uint32_t nr_iovas;
  uint32_t reserved;
};

// How many more mappings the container takes.
struct vfio_iommu_type1_info_dma_avail {
  struct vfio_info_cap_header header;
  uint32_t avail;
};

static const uint32_t VIADUCT_VFIO_DMA_MAP_FLAG_READ = 1u << 0;
static const uint32_t VIADUCT_VFIO_DMA_MAP_FLAG_WRITE = 1u << 1;
static const uint32_t VIADUCT_VFIO_DMA_MAP_FLAG_VADDR = 1u << 2;

// Maps memory of the calling process at a fixed I/O address.
struct vfio_iommu_type1_dma_map {
  uint32_t argsz;
  uint32_t flags;
  uint64_t vaddr;
  uint64_t iova;
  uint64_t size;
};

static const uint32_t VIADUCT_VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP = 1u << 0;
static const uint32_t VIADUCT_VFIO_DMA_UNMAP_FLAG_ALL = 1u << 1;
static const uint32_t VIADUCT_VFIO_DMA_UNMAP_FLAG_VADDR = 1u << 2;

// Removes mappings; the size becomes the bytes removed.
struct vfio_iommu_type1_dma_unmap {
  uint32_t argsz;
  uint32_t flags;
  uint64_t iova;
  uint64_t size;
};

#endif
