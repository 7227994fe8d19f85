// SPDX-License-Identifier: Apache-2.0
// Many threads with small stacks race on one file, each with an IOAS and memory of its own.
#include "process.h"

#include <pthread.h>

#define THREADS 32
#define ROUNDS 100
#define LENGTH (4u * PAGE)

static int shared_fd;

static const char *one_round(uint8_t *memory) {
  uint32_t ioas;
  if (ioas_alloc(shared_fd, &ioas) != 0) return "alloc";
  if (ioas_map(shared_fd, ioas, memory, LENGTH, MAP_IOVA) != 0) return "map";
  if (ioas_map(shared_fd, ioas, memory, LENGTH, MAP_IOVA) == 0 || errno != EEXIST) return "map twice";
  if (ioas_unmap(shared_fd, ioas, MAP_IOVA, LENGTH) != LENGTH) return "unmap";
  struct iommu_fault_alloc queue = {.size = sizeof queue};
  if (ioctl(shared_fd, IOMMU_FAULT_QUEUE_ALLOC, &queue) != 0) return "queue";
  if (close((int)queue.out_fault_fd) != 0) return "close";
  if (destroy(shared_fd, queue.out_fault_id) != 0) return "destroy queue";
  if (ioctl(shared_fd, IOMMU_IOAS_ALLOC, (void *)0x10000) == 0 || errno != EFAULT) return "bad pointer";
  return destroy(shared_fd, ioas) == 0 ? NULL : "destroy";
}

static void *thread_main(void *argument) {
  (void)argument;
  uint8_t *memory = private_pages(NULL, LENGTH);
  const char *failed = NULL;
  for (int round = 0; round < ROUNDS && !failed; round++) failed = one_round(memory);
  int own = open_iommu(O_CLOEXEC);
  if (!failed && !works(own)) failed = "an open of its own";
  close(own);
  munmap(memory, LENGTH);
  return (void *)failed;
}

int main(void) {
  pthread_t threads[THREADS];
  pthread_attr_t attributes;
  shared_fd = open_iommu(O_CLOEXEC);
  REQUIRE(shared_fd >= 0);
  pthread_attr_init(&attributes);
  REQUIRE(pthread_attr_setstacksize(&attributes, 65536) == 0);
  for (int index = 0; index < THREADS; index++)
    REQUIRE(pthread_create(&threads[index], &attributes, thread_main, NULL) == 0);
  for (int index = 0; index < THREADS; index++) {
    void *failed = NULL;
    CHECK(pthread_join(threads[index], &failed) == 0);
    if (failed) {
      failures++;
      printf("thread %d failed at: %s\n", index, (const char *)failed);
    }
  }
  close(shared_fd);
  return finish_tests();
}
