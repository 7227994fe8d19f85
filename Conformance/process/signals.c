// SPDX-License-Identifier: Apache-2.0
// Signal handlers that interrupt a call: they make calls of their own, or jump out of it for good.
#include "process.h"

#include <setjmp.h>
#include <signal.h>
#include <sys/time.h>

#define INTERRUPTIONS 300

static int shared_fd;
static volatile sig_atomic_t handled, handled_well;
static sigjmp_buf out;

static void make_a_call(int number) {
  (void)number;
  int error = errno;
  handled++;
  handled_well += works(shared_fd);
  errno = error;
}

static void jump_out(int number) {
  (void)number;
  handled++;
  siglongjmp(out, 1);
}

static void alarm_every(int microseconds) {
  struct itimerval timer = {.it_interval = {.tv_usec = microseconds}, .it_value = {.tv_usec = microseconds}};
  setitimer(ITIMER_REAL, &timer, NULL);
}

static void alarm_once(int microseconds) {
  struct itimerval timer = {.it_value = {.tv_usec = microseconds}};
  setitimer(ITIMER_REAL, &timer, NULL);
}

static void nested_calls(int flags) {
  struct sigaction action = {.sa_handler = make_a_call, .sa_flags = flags};
  sigaction(SIGALRM, &action, NULL);
  handled = handled_well = 0;
  alarm_every(400);
  while (handled < INTERRUPTIONS) {
    int before = failures;
    CHECK(works(shared_fd)); /* never EINTR: these calls do not sleep in the kernel */
    if (failures != before) break;
  }
  alarm_every(0);
  CHECK(handled_well == handled);
}

static void jumps(void) {
  struct sigaction action = {.sa_handler = jump_out};
  sigaction(SIGALRM, &action, NULL);
  handled = 0;
  for (volatile int turn = 0; turn < INTERRUPTIONS; turn++) {
    if (sigsetjmp(out, 1) != 0) continue;
    alarm_once(50 + turn % 250);
    for (;;) (void)works(shared_fd);
  }
  alarm_once(0);
  CHECK(handled == INTERRUPTIONS);
  for (int turn = 0; turn < 200; turn++) CHECK(works(shared_fd));
}

/* Descriptors that a call had promised when it was jumped over are not lost: the table does not fill up. */
static void jumps_over_descriptors(void) {
  struct sigaction action = {.sa_handler = jump_out};
  sigaction(SIGALRM, &action, NULL);
  int lowest = dup(0);
  close(lowest);
  for (volatile int turn = 0; turn < INTERRUPTIONS; turn++) {
    if (sigsetjmp(out, 1) != 0) continue;
    alarm_once(50 + turn % 250);
    for (;;) {
      struct iommu_fault_alloc queue = {.size = sizeof queue};
      if (ioctl(shared_fd, IOMMU_FAULT_QUEUE_ALLOC, &queue) == 0) {
        close((int)queue.out_fault_fd);
        (void)destroy(shared_fd, queue.out_fault_id);
      }
    }
  }
  alarm_once(0);
  int now = dup(0);
  CHECK(now - lowest <= INTERRUPTIONS); /* at most one a jump, as it would be under a kernel */
  CHECK(close_range((unsigned)lowest, ~0u, 0) == 0);
  CHECK(works(shared_fd));
}

static sigjmp_buf after_fault;
static volatile sig_atomic_t faults;

static void on_fault(int number, siginfo_t *info, void *context) {
  (void)number;
  (void)context;
  faults++;
  CHECK(info->si_addr == (void *)0x10008);
  siglongjmp(after_fault, 1);
}

/* The client's own faults are its own; those of a bad argument are EFAULT, also with all signals blocked. */
static void client_faults(void) {
  struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO}, previous;
  CHECK(sigaction(SIGSEGV, &action, NULL) == 0);
  for (volatile int turn = 0; turn < 3; turn++) {
    if (sigsetjmp(after_fault, 1) == 0) *(volatile char *)0x10008 = 1;
    CHECK(faults == turn + 1);
    CHECK_ERROR(EFAULT, ioctl(shared_fd, IOMMU_IOAS_ALLOC, (void *)0x10000));
  }
  sigset_t all, before;
  sigfillset(&all);
  sigprocmask(SIG_BLOCK, &all, &before);
  CHECK_ERROR(EFAULT, ioctl(shared_fd, IOMMU_IOAS_ALLOC, (void *)0x10000));
  sigprocmask(SIG_SETMASK, &before, NULL);
  CHECK(sigaction(SIGSEGV, NULL, &previous) == 0 && previous.sa_sigaction == on_fault);
  CHECK(faults == 3);

  signal(SIGSEGV, SIG_DFL);
  int status;
  pid_t child = fork();
  if (child == 0) {
    *(volatile char *)0x10008 = 1;
    _exit(0);
  }
  CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}

int main(void) {
  shared_fd = open_iommu(O_CLOEXEC);
  REQUIRE(shared_fd >= 0);
  nested_calls(0);
  nested_calls(SA_RESTART);
  stack_t stack = {.ss_sp = malloc(65536), .ss_size = 65536};
  CHECK(sigaltstack(&stack, NULL) == 0);
  nested_calls(SA_ONSTACK);
  jumps();
  jumps_over_descriptors();
  client_faults();
  close(shared_fd);
  return finish_tests();
}
