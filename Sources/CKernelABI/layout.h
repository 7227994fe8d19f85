// SPDX-License-Identifier: Apache-2.0
// Every size, offset and value of the interface, stated once. abi.c holds our headers to it, and
// Conformance/abi/compare.c the kernel's own, so the two agree without ever meeting in one file.
//
//   STRUCTURE(structure, bytes)                        FIELD(structure, field, offset, bytes)
//   FIELD_AS(structure, ours, kernel's, offset, bytes) for a field that we spell differently
//   OPERATION, OPERATION_FIELD                         the same for a member of the test command
//   VALUE(name, number)                                VIADUCT_VALUE for a name that we prefix

#include "layout/iommufd_abi.h"
#include "layout/iommufd_test_abi.h"
#include "layout/vfio_abi.h"
