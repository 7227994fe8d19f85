_Static_assert(1, "placeholder: delete when the shim has files");
