// SPDX-License-Identifier: Apache-2.0
// What a call that is not Viaduct's costs more under the shim: read() of nothing from a descriptor of
// the program's own, through libc and as a bare system call, best of several rounds.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { CALLS = 200000, ROUNDS = 15 };

static uint64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

int main(void) {
  char byte;
  int descriptor = open("/dev/null", O_RDONLY);
  double wrapped = 1e9, bare = 1e9;
  for (int round = 0; round < ROUNDS; round++) {
    uint64_t start = now();
    for (int call = 0; call < CALLS; call++) (void)!read(descriptor, &byte, 0);
    uint64_t middle = now();
    for (int call = 0; call < CALLS; call++) (void)!syscall(SYS_read, descriptor, &byte, 0);
    uint64_t end = now();
    double first = (double)(middle - start) / CALLS, second = (double)(end - middle) / CALLS;
    if (first < wrapped) wrapped = first;
    if (second < bare) bare = second;
  }
  printf("%.1f %.1f\n", wrapped, bare);
  return 0;
}
