/*
 * Which descriptors are ours: a bit per number, and the file it stood for when the bit was set. Both are
 * a cache of "maybe": descriptors are closed and replaced where no wrapper sees it (inside libc, by raw
 * system calls), so every use compares the file with the kernel's word first.
 */
#include "shim.h"

#include <dirent.h>
#include <string.h>

#define CHUNK_ENTRIES 1024u

struct entry {
  _Atomic uint64_t device, inode;
};

_Atomic uint64_t descriptor_bits[DESCRIPTOR_LIMIT / 64];
static struct entry *_Atomic chunks[DESCRIPTOR_LIMIT / CHUNK_ENTRIES];

/* The table is mapped piece by piece, so that a client that locks its memory does not lock 16 MiB. */
static struct entry *entry_of(unsigned number) {
  struct entry *_Atomic *place = &chunks[number / CHUNK_ENTRIES];
  struct entry *chunk = atomic_load(place);
  if (!chunk) {
    size_t bytes = CHUNK_ENTRIES * sizeof(struct entry);
    long mapped = raw_mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped < 0) return NULL;
    if (atomic_compare_exchange_strong(place, &chunk, (struct entry *)mapped))
      chunk = (struct entry *)mapped;
    else
      (void)raw_munmap((void *)mapped, bytes);
  }
  return &chunk[number % CHUNK_ENTRIES];
}

static uint64_t bit_of(int descriptor) { return 1ull << ((unsigned)descriptor % 64); }

/* A vfork child has its own descriptors but its parent's table: it may only add what the parent lacks. */
void descriptor_note(int descriptor, const struct file_identity *identity) {
  if ((unsigned)descriptor >= DESCRIPTOR_LIMIT) return;
  if (descriptor_maybe_ours(descriptor) && process_is_vfork_child()) return;
  struct entry *entry = entry_of((unsigned)descriptor);
  if (!entry) return;
  atomic_store(&entry->device, identity->device);
  atomic_store(&entry->inode, identity->inode);
  atomic_fetch_or(&descriptor_bits[(unsigned)descriptor / 64], bit_of(descriptor));
}

void descriptor_note_new(int descriptor) {
  struct stat status = {0};
  if (raw_fstat(descriptor, &status) < 0) return;
  descriptor_note(descriptor, &(struct file_identity){.device = status.st_dev, .inode = status.st_ino});
}

void descriptor_forget(int descriptor) {
  if (!descriptor_maybe_ours(descriptor) || process_is_vfork_child()) return;
  atomic_fetch_and(&descriptor_bits[(unsigned)descriptor / 64], ~bit_of(descriptor));
}

bool descriptor_confirm(int descriptor, struct file_identity *identity) {
  if (!descriptor_maybe_ours(descriptor)) return false;
  struct entry *entry = entry_of((unsigned)descriptor);
  struct stat status = {0};
  if (entry && raw_fstat(descriptor, &status) >= 0 && status.st_dev == atomic_load(&entry->device) &&
      status.st_ino == atomic_load(&entry->inode)) {
    *identity = (struct file_identity){.device = status.st_dev, .inode = status.st_ino};
    return true;
  }
  descriptor_forget(descriptor);
  return false;
}

static struct viaduct_slot *file_slot(const struct file_identity *identity, uint32_t operation) {
  struct viaduct_channel *channel = channel_get();
  struct viaduct_slot *slot = channel ? slot_claim(channel, operation) : NULL;
  if (!slot) return NULL;
  slot->file_device = identity->device;
  slot->file_inode = identity->inode;
  return slot;
}

struct viaduct_slot *descriptor_slot(int descriptor, uint32_t operation) {
  struct file_identity identity;
  return descriptor_confirm(descriptor, &identity) ? file_slot(&identity, operation) : NULL;
}

void descriptor_report_closed(const struct file_identity *identity) {
  struct viaduct_slot *slot = file_slot(identity, VIADUCT_CLOSED);
  if (!slot) return;
  (void)slot_call(slot);
  slot_release(slot);
}

/* For descriptors that came in another way than by our wrappers. */
void descriptor_identify(int descriptor) {
  struct stat status = {0};
  if (raw_fstat(descriptor, &status) < 0 || !(S_ISSOCK(status.st_mode) || S_ISFIFO(status.st_mode))) return;
  struct file_identity identity = {.device = status.st_dev, .inode = status.st_ino};
  struct viaduct_slot *slot = file_slot(&identity, VIADUCT_IDENTIFY);
  if (!slot) return;
  bool ours = slot_call(slot) > 0;
  slot_release(slot);
  if (ours) descriptor_note(descriptor, &identity);
}

static int parse_descriptor(const char *name) {
  int number = 0;
  for (; *name >= '0' && *name <= '9'; name++) number = number * 10 + (*name - '0');
  return *name ? -1 : number;
}

void descriptor_identify_inherited(void) {
  _Alignas(struct dirent64) char buffer[1024] = {0};
  long directory = raw_open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory < 0) return;
  long length;
  while ((length = raw_call3(SYS_getdents64, directory, (long)buffer, sizeof buffer)) > 0) {
    for (long at = 0; at < length;) {
      struct dirent64 *item = (struct dirent64 *)(buffer + at);
      at += item->d_reclen;
      int descriptor = parse_descriptor(item->d_name);
      if (descriptor >= 0) descriptor_identify(descriptor);
    }
  }
  (void)raw_close((int)directory);
}
