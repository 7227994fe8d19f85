// SPDX-License-Identifier: Apache-2.0
// The interface of Linux 7.3 that Viaduct answers, as structures and numbers that Swift can import.
// Names of structures, fields and constants are the kernel's, because they are the interface; the
// wording is ours. `layout.h` beside this folder pins every size, offset and value.
#ifndef VIADUCT_KERNEL_ABI_H
#define VIADUCT_KERNEL_ABI_H

#include "iommufd_abi.h"
#include "iommufd_test_abi.h"
#include "vfio_abi.h"

#endif
