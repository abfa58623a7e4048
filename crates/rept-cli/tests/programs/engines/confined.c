/* Forbids itself all but a few system calls, in one of three ways, then crashes. */
#include <stddef.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static int confine(void)
{
#ifdef STRICT
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
#else
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_write, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { sizeof rules / sizeof *rules, rules };
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
#ifdef CALL
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program);
#else
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
#endif
#endif
}

int main(void)
{
    volatile long sum = 0;
    for (int i = 0; i < 3000; i++)
        sum += i;
    if (confine())
        return 1;
    write(1, "confined\n", 9);
    *(volatile long *)8 = sum;
    return 0;
}
