/* What the host needs of Linux that the Glibc module hides, and atomic access to the channel. */
#ifndef CHOST_H
#define CHOST_H

#include "host_channel.h"
#include "host_memory.h"
#include "host_process.h"
#include "host_system.h"

#endif
