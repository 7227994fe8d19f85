#include "viaduct_channel.h"

_Static_assert(sizeof(struct viaduct_slot) % 64 == 0, "slots keep their alignment");
