/*
 * Memory that may not be there. Each guarded access is one instruction whose address is known: a fault
 * on it resumes behind it, with the result registers telling how far it came.
 */
#include "shim.h"

#include <string.h>
#include <sys/uio.h>
#include <ucontext.h>

#if defined(__x86_64__)

__asm__(
    ".pushsection .text\n"
    ".p2align 4\n"
    ".type viaduct_copy, @function\n"
    "viaduct_copy:\n" /* rdi to, rsi from, rdx count -> rax not copied */
    "  mov %rdx, %rcx\n"
    "viaduct_copy_access:\n"
    "  rep movsb\n"
    "viaduct_copy_behind:\n"
    "  mov %rcx, %rax\n"
    "  ret\n"
    ".size viaduct_copy, . - viaduct_copy\n"
    ".p2align 4\n"
    ".type viaduct_probe, @function\n"
    "viaduct_probe:\n" /* rdi address -> rax 0, or -1 */
    "  xor %eax, %eax\n"
    "viaduct_probe_access:\n"
    "  lock orb $0, (%rdi)\n"
    "viaduct_probe_behind:\n"
    "  ret\n"
    ".size viaduct_probe, . - viaduct_probe\n"
    ".p2align 4\n"
    ".type viaduct_length, @function\n"
    "viaduct_length:\n" /* rdi string, rsi limit -> rax length, or -1 */
    "  xor %eax, %eax\n"
    "1:\n"
    "  cmp %rsi, %rax\n"
    "  je viaduct_length_behind\n"
    "viaduct_length_access:\n"
    "  cmpb $0, (%rdi, %rax)\n"
    "  je viaduct_length_behind\n"
    "  inc %rax\n"
    "  jmp 1b\n"
    "viaduct_length_behind:\n"
    "  ret\n"
    ".size viaduct_length, . - viaduct_length\n"
    ".popsection\n");

#define HIDDEN __attribute__((visibility("hidden")))
HIDDEN extern size_t viaduct_copy(void *to, const void *from, size_t count);
HIDDEN extern long viaduct_probe(void *address);
HIDDEN extern long viaduct_length(const char *string, size_t limit);
HIDDEN extern const char viaduct_copy_access[], viaduct_copy_behind[];
HIDDEN extern const char viaduct_probe_access[], viaduct_probe_behind[];
HIDDEN extern const char viaduct_length_access[], viaduct_length_behind[];

size_t guard_copy(void *to, const void *from, size_t count) { return viaduct_copy(to, from, count); }
bool guard_writable(void *address) { return viaduct_probe(address) == 0; }
long guard_string_length(const char *string, size_t limit) { return viaduct_length(string, limit); }

bool guard_resume(void *context) {
  greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
  const char *access = (const char *)registers[REG_RIP];
  const char *behind;
  if (access == viaduct_copy_access) {
    behind = viaduct_copy_behind;
  } else if (access == viaduct_probe_access) {
    behind = viaduct_probe_behind;
    registers[REG_RAX] = -1;
  } else if (access == viaduct_length_access) {
    behind = viaduct_length_behind;
    registers[REG_RAX] = -1;
  } else {
    return false;
  }
  registers[REG_RIP] = (greg_t)behind;
  return true;
}

#else /* the kernel copies, and looks before it does */

size_t guard_copy(void *to, const void *from, size_t count) {
  struct iovec target = {.iov_base = to, .iov_len = count}, source = {.iov_base = (void *)from, .iov_len = count};
  long copied = raw_call6(SYS_process_vm_readv, raw_getpid(), (long)&target, 1, (long)&source, 1, 0);
  return copied < 0 ? count : count - (size_t)copied;
}

bool guard_writable(void *address) {
  uint8_t byte;
  struct iovec ours = {.iov_base = &byte, .iov_len = 1}, theirs = {.iov_base = address, .iov_len = 1};
  if (guard_copy(&byte, address, 1) != 0) return false;
  return raw_call6(SYS_process_vm_writev, raw_getpid(), (long)&ours, 1, (long)&theirs, 1, 0) == 1;
}

long guard_string_length(const char *string, size_t limit) {
  char piece[64];
  for (size_t length = 0; length < limit;) {
    size_t wanted = limit - length < sizeof piece ? limit - length : sizeof piece;
    size_t count = wanted - guard_copy(piece, string + length, wanted);
    const char *end = memchr(piece, 0, count);
    if (end) return (long)(length + (size_t)(end - piece));
    if (count < wanted) return -1;
    length += count;
  }
  return (long)limit;
}

bool guard_resume(void *context) {
  (void)context;
  return false;
}

#endif

void window_load(struct viaduct_slot *slot, uintptr_t address, size_t count) {
  slot->window_address = address;
  slot->window_readable = (uint32_t)(count - guard_copy(slot->window, (const void *)address, count));
}

/* The window spans two pages at most: one probe in each. */
void window_probe(struct viaduct_slot *slot, size_t count) {
  uintptr_t address = slot->window_address;
  size_t first_page = PAGE_BYTES - address % PAGE_BYTES;
  slot->window_writable = 0;
  if (count == 0 || !guard_writable((void *)address)) return;
  bool whole = count <= first_page || guard_writable((void *)(address + first_page));
  slot->window_writable = (uint32_t)(whole ? count : first_page);
}

long window_store(const struct viaduct_slot *slot, long result) {
  for (uint32_t index = 0; index < slot->write_count && index < VIADUCT_WRITES; index++) {
    uint32_t offset = slot->writes[index].offset, length = slot->writes[index].length;
    if (offset > VIADUCT_WINDOW_BYTES || length > VIADUCT_WINDOW_BYTES - offset) return -EIO;
    if (guard_copy((void *)(slot->window_address + offset), slot->window + offset, length) != 0) return -EFAULT;
  }
  return result;
}
