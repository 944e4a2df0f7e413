/* The sandbox of a worker: a seccomp filter that leaves it what computing needs (seccomp(2)). */
#include "isolate_internal.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#endif

#ifdef ARCHITECTURE

/* None that reaches another process, a file by its name or the network: not tgkill, by which
 * abort() would end itself, nor prlimit64. */
static const int allowed[] = {
    SYS_read,           SYS_write,        SYS_readv,
    SYS_writev,         SYS_close,        SYS_brk,
    SYS_mmap,           SYS_munmap,       SYS_mremap,
    SYS_mprotect,       SYS_madvise,      SYS_futex,
    SYS_clock_gettime,  SYS_gettimeofday, SYS_getrandom,
    SYS_exit,           SYS_exit_group,   SYS_rt_sigreturn,
    SYS_rt_sigprocmask, SYS_rt_sigaction, SYS_getpid,
    SYS_gettid,         SYS_getrusage,    SYS_getrlimit,
    SYS_setrlimit,      SYS_sched_yield,  SYS_restart_syscall,
    SYS_fstat,          SYS_lseek,
};

enum { ALLOWED = sizeof allowed / sizeof *allowed, HEAD = 3 };

bool wi_isolate_sandbox_is_there(void)
{
    return true;
}

bool wi_isolate_sandbox_enter(void)
{
    struct sock_filter filter[HEAD + 1 + ALLOWED + 2] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
    };
    size_t n = HEAD + 1;
    for (size_t i = 0; i < ALLOWED; i++)
        filter[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)allowed[i],
                                                   (uint8_t)(ALLOWED - i), 0);
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = { .len = (unsigned short)n, .filter = filter };
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0;
}

#else

bool wi_isolate_sandbox_is_there(void)
{
    return false;
}

bool wi_isolate_sandbox_enter(void)
{
    return false;
}

#endif
