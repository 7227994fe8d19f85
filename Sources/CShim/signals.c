/*
 * SIGSEGV and SIGBUS stay ours and unblocked, since a guarded access may raise them at any time. The
 * client is shown what it set, and gets every fault that is not ours.
 */
#include "shim.h"

static const int fault_numbers[FAULT_SIGNALS] = {SIGSEGV, SIGBUS};

/* The client's action, twice: the handler reads one while a new one is written to the other. */
static struct sigaction client_actions[FAULT_SIGNALS][2];
static _Atomic unsigned client_current[FAULT_SIGNALS];

/* Per signal number: which of the two the client put into its sa_mask. */
static uint8_t masked_by_client[_NSIG];

static enum fault_signal fault_index(int number) {
  return number == SIGSEGV ? FAULT_SEGMENT : number == SIGBUS ? FAULT_BUS : FAULT_SIGNALS;
}

static uint32_t fault_bits(const sigset_t *set) {
  uint32_t bits = 0;
  for (unsigned fault = 0; fault < FAULT_SIGNALS; fault++)
    bits |= (uint32_t)(sigismember(set, fault_numbers[fault]) == 1) << fault;
  return bits;
}

static void add_fault_bits(sigset_t *set, uint32_t bits) {
  for (unsigned fault = 0; fault < FAULT_SIGNALS; fault++)
    if (bits >> fault & 1) sigaddset(set, fault_numbers[fault]);
}

static void remove_faults(sigset_t *set) {
  for (unsigned fault = 0; fault < FAULT_SIGNALS; fault++) sigdelset(set, fault_numbers[fault]);
}

static struct sigaction client_action(enum fault_signal fault) {
  return client_actions[fault][atomic_load(&client_current[fault]) & 1];
}

static void set_client_action(enum fault_signal fault, const struct sigaction *action) {
  unsigned next = atomic_load(&client_current[fault]) + 1;
  client_actions[fault][next & 1] = *action;
  atomic_store(&client_current[fault], next);
}

/* As without us: a fault repeats when the handler returns, a signal that was sent is sent again. */
static void die(int number, const siginfo_t *info) {
  struct sigaction action = {.sa_handler = SIG_DFL};
  (void)REAL(sigaction)(number, &action, NULL);
  if (info->si_code <= 0) (void)raw_call3(SYS_tgkill, raw_getpid(), raw_gettid(), number);
}

static void pass_on(int number, siginfo_t *info, void *context) {
  enum fault_signal fault = fault_index(number);
  struct sigaction action = client_action(fault);
  bool sent = info->si_code <= 0;
  if (action.sa_handler == SIG_IGN && sent) return;
  if (action.sa_handler == SIG_DFL || action.sa_handler == SIG_IGN) {
    die(number, info);
    return;
  }
  if (action.sa_flags & SA_RESETHAND) {
    struct sigaction reset = {.sa_handler = SIG_DFL};
    set_client_action(fault, &reset);
  }
  remove_faults(&action.sa_mask);
  (void)REAL(pthread_sigmask)(SIG_BLOCK, &action.sa_mask, NULL); /* undone by the return from our handler */
  if (action.sa_flags & SA_SIGINFO)
    action.sa_sigaction(number, info, context);
  else
    action.sa_handler(number);
}

static void on_fault(int number, siginfo_t *info, void *context) {
  if (info->si_code > 0 && guard_resume(context)) return;
  int saved = errno;
  pass_on(number, info, context);
  errno = saved;
}

void signals_start(void) {
  sigset_t faults;
  sigemptyset(&faults);
  for (unsigned fault = 0; fault < FAULT_SIGNALS; fault++) {
    struct sigaction ours = {.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER | SA_RESTART}, inherited;
    ours.sa_sigaction = on_fault;
    (void)REAL(sigaction)(fault_numbers[fault], &ours, &inherited);
    set_client_action((enum fault_signal)fault, &inherited);
    sigaddset(&faults, fault_numbers[fault]);
  }
  sigset_t inherited_mask;
  (void)REAL(pthread_sigmask)(SIG_UNBLOCK, &faults, &inherited_mask);
  viaduct_thread.blocked = fault_bits(&inherited_mask);
}

EXPORT int sigaction(int number, const struct sigaction *action, struct sigaction *previous) {
  if (!viaduct_state || number <= 0 || number >= _NSIG) return REAL(sigaction)(number, action, previous);
  enum fault_signal fault = fault_index(number);
  if (fault != FAULT_SIGNALS) {
    /* A vfork child has handlers of its own but shares our memory; it is about to exec. */
    if (process_is_vfork_child()) return REAL(sigaction)(number, action, previous);
    struct sigaction old = client_action(fault);
    if (action) set_client_action(fault, action);
    if (previous) *previous = old;
    return 0;
  }
  struct sigaction reduced;
  uint8_t old_bits = masked_by_client[number], new_bits = 0;
  if (action) {
    reduced = *action;
    new_bits = (uint8_t)fault_bits(&reduced.sa_mask);
    remove_faults(&reduced.sa_mask);
  }
  int result = REAL(sigaction)(number, action ? &reduced : NULL, previous);
  if (result != 0) return result;
  if (previous) add_fault_bits(&previous->sa_mask, old_bits);
  if (action && (old_bits | new_bits) && !process_is_vfork_child()) masked_by_client[number] = new_bits;
  return result;
}

EXPORT sighandler_t signal(int number, sighandler_t handler) {
  if (!viaduct_state || fault_index(number) == FAULT_SIGNALS) return REAL(signal)(number, handler);
  struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART}, previous;
  return sigaction(number, &action, &previous) == 0 ? previous.sa_handler : SIG_ERR;
}

static int change_mask(__typeof__(sigprocmask) *change, int how, const sigset_t *set, sigset_t *previous) {
  if (!viaduct_state) return change(how, set, previous);
  sigset_t reduced;
  uint32_t old_bits = viaduct_thread.blocked, bits = 0;
  if (set) {
    reduced = *set;
    bits = fault_bits(&reduced);
    remove_faults(&reduced);
  }
  int result = change(how, set ? &reduced : NULL, previous);
  if (result != 0) return result;
  if (previous) add_fault_bits(previous, old_bits);
  if (set)
    viaduct_thread.blocked = how == SIG_BLOCK ? old_bits | bits : how == SIG_UNBLOCK ? old_bits & ~bits : bits;
  return result;
}

EXPORT int sigprocmask(int how, const sigset_t *set, sigset_t *previous) {
  return change_mask(REAL(sigprocmask), how, set, previous);
}

EXPORT int pthread_sigmask(int how, const sigset_t *set, sigset_t *previous) {
  return change_mask(REAL(pthread_sigmask), how, set, previous);
}
