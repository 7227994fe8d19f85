// SPDX-License-Identifier: Apache-2.0
// Holds the headers to layout.h when they are compiled; there is no code here.
#include "CKernelABI.h"

#include <stddef.h>

// The constants are typed variables for Swift's sake, and clang folds them on request.
#pragma clang diagnostic ignored "-Wgnu-folding-constant"

#define STRUCTURE(structure, bytes) \
  _Static_assert(sizeof(struct structure) == (bytes), #structure);
#define FIELD(structure, field, offset, bytes)                                              \
  _Static_assert(offsetof(struct structure, field) == (offset), #structure "." #field);     \
  _Static_assert(sizeof(((struct structure *)0)->field) == (bytes), #structure "." #field);
#define FIELD_AS(structure, ours, kernels, offset, bytes) FIELD(structure, ours, offset, bytes)
#define OPERATION(name, bytes)          \
  STRUCTURE(iommu_test_##name, bytes)   \
  FIELD(iommu_test_cmd, arguments.name, 16, bytes)
#define OPERATION_FIELD(name, field, offset, bytes) FIELD(iommu_test_##name, field, offset, bytes)
#define VALUE(name, number) _Static_assert((name) == (number), #name);
#define VIADUCT_VALUE(name, number) VALUE(VIADUCT_##name, number)

#include "layout.h"
