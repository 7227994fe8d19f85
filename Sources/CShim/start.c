/* Start-up. Without VIADUCT_SOCKET in the environment the library does nothing at all. */
#include "shim.h"

__attribute__((constructor)) static void start(void) {
  real_resolve();
  const char *path = getenv(VIADUCT_SOCKET_VARIABLE);
  if (!path || !*path || !socket_set_path(path) || !process_start()) return;
  process_remember_library();
  signals_start();
  descriptor_identify_inherited();
}
