// SPDX-License-Identifier: Apache-2.0
// Compiles when the kernel's own headers (7.3, with the test driver's) have the sizes, offsets and
// values that Sources/CKernelABI/layout.h states; there is nothing to run.
#include <linux/iommufd.h>
#include <linux/vfio.h>
#include <stddef.h>

#include "iommufd_test.h"

#define STRUCTURE(structure, bytes) \
  _Static_assert(sizeof(struct structure) == (bytes), #structure);
#define FIELD(structure, field, offset, bytes)                                              \
  _Static_assert(offsetof(struct structure, field) == (offset), #structure "." #field);     \
  _Static_assert(sizeof(((struct structure *)0)->field) == (bytes), #structure "." #field);
#define FIELD_AS(structure, ours, kernels, offset, bytes) FIELD(structure, kernels, offset, bytes)
#define OPERATION(name, bytes) FIELD(iommu_test_cmd, name, 16, bytes)
#define OPERATION_FIELD(name, field, offset, bytes) \
  FIELD(iommu_test_cmd, name.field, 16 + (offset), bytes)
#define VALUE(name, number) _Static_assert((name) == (number), #name);
#define VIADUCT_VALUE(name, number) VALUE(name, number)

#include "layout.h"

// Spelled differently here and there.
_Static_assert(IOMMUFD_TYPE == 0x3b, "VIADUCT_IOCTL_TYPE");
_Static_assert(IOMMU_TEST_CMD == (0x3b << 8 | 0xa0), "IOMMUFD_CMD_TEST");
_Static_assert(__VFIO_RESERVED_TYPE1_NESTING_IOMMU == 6, "VIADUCT_VFIO_TYPE1_NESTING_IOMMU");

int main(void) { return 0; }
