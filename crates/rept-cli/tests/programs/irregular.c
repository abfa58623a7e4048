/* What is hard to run as a copy: faults of every kind with handlers that leave by longjmp,
   returns and calls to addresses that are none, branches that have short forms only, code
   that is written while it runs, children; ends by running out of stack. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static sigjmp_buf out;
static volatile long sum;
static volatile void *fault_at;

static void on_fault(int number, siginfo_t *info, void *context)
{
    (void)context;
    fault_at = info->si_addr;
    sum += number;
    siglongjmp(out, 1);
}

static void on_usr1(int number)
{
    sum += number;
}

__attribute__((noinline)) static void returns_to(unsigned long address)
{
    __asm__ volatile("push %0\n\tret" ::"r"(address) : "memory");
}

__attribute__((noinline)) static void calls(unsigned long address)
{
    __asm__ volatile("call *%0" ::"r"(address) : "memory");
}

static void try_fault(int which)
{
    if (sigsetjmp(out, 1))
        return;
    switch (which) {
    case 0: *(volatile int *)8 = 1; break;
    case 1: returns_to(0x4141414141414141); break;
    case 2: calls(0x4141414141414141); break;
    case 3: calls(0x10); break;
    case 4: calls(~0ul); break;
    case 5: __asm__ volatile("ud2"); break;
    case 6: __asm__ volatile("xor %%edx, %%edx\n\txor %%ecx, %%ecx\n\tdiv %%ecx" ::: "rax", "rcx", "rdx"); break;
    case 7: __asm__ volatile("int3"); break;
    case 8: __asm__ volatile("hlt"); break;
    case 9: __asm__ volatile("push $0\n\tmov %%rsp, %%rdx\n\txor %%esp, %%esp\n\tmov %%rdx, %%rsp\n\tadd $8, %%rsp" ::: "rdx"); break;
    }
}

static void branches(void)
{
    long a = 0, b = 0, c = 0;
    __asm__ volatile(
        "mov $5, %%ecx\n"
        "1: add $1, %0\n\tloop 1b\n"
        "jrcxz 2f\n\tadd $100, %0\n"
        "2: mov $3, %%ecx\n"
        "jecxz 3f\n\tadd $7, %0\n"
        "3: pushf\n\tpop %1\n"
        "stc\n\tpushf\n\tpopf\n\tadc $0, %2\n"
        "jmp 5f\n"
        "4: ret $16\n"
        "5: push $1\n\tpush $2\n\tcall 4b\n"
        "lea 4b(%%rip), %%rcx\n\tpush $1\n\tpush $2\n\tpush %%rcx\n\tcall *(%%rsp)\n\tadd $-8, %%rsp\n\tadd $16, %%rsp\n"
        "jz 6f\n6: nop\n"
        : "+r"(a), "+r"(b), "+r"(c)::"rcx", "memory", "cc");
    sum += a + c;
}

static int written_code(int protection)
{
    unsigned char code[] = { 0xb8, 1, 0, 0, 0, 0xc3 };
    unsigned char *page = mmap(0, 4096, PROT_READ | PROT_WRITE | protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int total = 0;
    for (int i = 0; i < 4; i++) {
        code[1] = i + 1;
        if (!protection)
            mprotect(page, 4096, PROT_READ | PROT_WRITE);
        memcpy(page, code, sizeof code);
        if (!protection)
            mprotect(page, 4096, PROT_READ | PROT_EXEC);
        total += ((int (*)(void))page)();
    }
    /* The page stays, so that the dump holds the code. */
    return total;
}

static int child(void)
{
    int status = 0;
    /* When it comes, and interrupts a wait, depends on the machine. */
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, 0);
    pid_t pid = fork();
    if (pid == 0)
        _exit(7);
    waitpid(pid, &status, 0);
    pid = vfork();
    if (pid == 0)
        _exit(5);
    waitpid(pid, &status, 0);
    return WEXITSTATUS(status);
}

__attribute__((noinline)) static long runs_out(long n)
{
    volatile char room[4096];
    room[n & 0xfff] = n;
    return runs_out(n + 1) + room[0];
}

void start(void)
{
    struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO };
    stack_t other = { .ss_sp = malloc(65536), .ss_size = 65536 };
    sigaltstack(&other, 0);
    action.sa_flags |= SA_ONSTACK;
    for (int number = 1; number < 12; number++)
        if (number != SIGKILL && number != SIGUSR1)
            sigaction(number, &action, 0);
    signal(SIGUSR1, on_usr1);
    raise(SIGUSR1);
    for (int which = 0; which < 10; which++) {
        try_fault(which);
        sum += (long)fault_at & 0xfff;
    }
    branches();
    sum += written_code(PROT_EXEC);
    sum += child();
    /* Last: the code that ran first is not in the dump, and behind such a gap decoding goes on
       where the trace begins anew, as it may at any sleep. */
    sum += written_code(0);
    char text[64];
    snprintf(text, sizeof text, "%ld\n", sum);
    write(1, text, strlen(text));
    signal(SIGSEGV, SIG_DFL);
    runs_out(0);
}

int main(void)
{
    start();
    return 0;
}
