#include "real.h"

#include <dlfcn.h>

/* SwiftPM's linker driver adds -lswiftCore through this section; so we ask to link only what is used. */
__attribute__((used, retain, section(".swift1_autolink_entries"))) static const char link_only_what_is_needed[] =
    "-Wl,--as-needed\0";

struct real_functions real_functions;

void real_resolve(void) {
#define REAL_RESOLVE(name) *(void **)&real_functions.name = dlsym(RTLD_NEXT, #name);
  REAL_FUNCTIONS(REAL_RESOLVE)
#undef REAL_RESOLVE
  __atomic_store_n(&real_functions.resolved, true, __ATOMIC_RELEASE);
}
