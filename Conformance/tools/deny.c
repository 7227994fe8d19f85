// SPDX-License-Identifier: Apache-2.0
// Runs a command as some container profiles do: reading and writing another process's memory, and
// taking a descriptor from it, are refused with EPERM.
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#endif

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define IF_EQUAL(value, yes, no) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), (yes), (no))
#define ANSWER(action) BPF_STMT(BPF_RET | BPF_K, (action))

int main(int argc, char **argv) {
  struct sock_filter program[] = {
      LOAD(arch),
      IF_EQUAL(ARCHITECTURE, 0, 4),
      LOAD(nr),
      IF_EQUAL(__NR_process_vm_readv, 3, 0),
      IF_EQUAL(__NR_process_vm_writev, 2, 0),
      IF_EQUAL(__NR_pidfd_getfd, 1, 0),
      ANSWER(SECCOMP_RET_ALLOW),
      ANSWER(SECCOMP_RET_ERRNO | EPERM),
  };
  struct sock_fprog filter = {sizeof program / sizeof program[0], program};

  if (argc < 2 || !strcmp(argv[1], "--help")) {
    fprintf(stderr, "usage: deny COMMAND [ARGUMENT...]\n");
    return 2;
  }
  // Without new privileges, an ordinary user may set a filter too.
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
      prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0)) {
    perror("deny: seccomp");
    return 2;
  }
  execvp(argv[1], argv + 1);
  perror(argv[1]);
  return 127;
}
