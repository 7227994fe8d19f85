/* Other processes' memory and mappings, and copies that survive a file that shrinks. */
#ifndef HOST_MEMORY_H
#define HOST_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#include "viaduct_channel.h"

#define HOST_MAPPING_WRITABLE 2u
#define HOST_MAPPING_SHARED 8u

/* The mapping at or after `address` whose flags include `filter`, from a descriptor of
   /proc/PID/maps. 0, -ENOENT when there is none, -ESRCH when the address space is gone. */
int host_query_mapping(
    int maps, uint64_t address, uint32_t filter, struct viaduct_mapping *mapping);
/* The same from the text of the file, for kernels without the query. */
int host_scan_mapping(
    int maps, uint64_t address, uint32_t filter, struct viaduct_mapping *mapping);

/* Installs the handler that makes host_copy_guarded return; once a process. */
void host_guard_install(void);
/* memcpy; -1 when it touched a page that is not there. */
int host_copy_guarded(void *destination, const void *source, size_t count);

#endif
