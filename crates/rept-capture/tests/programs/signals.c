/* Handlers, longjmp out of them and across frames, interrupted and restarted system calls,
   jump tables, deep recursion; ends by abort(). */
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <unistd.h>

static sigjmp_buf from_handler;
static jmp_buf from_depth;
static volatile int hits;

static void on_fault(int signal)
{
    (void)signal;
    hits++;
    siglongjmp(from_handler, 1);
}

static void on_signal(int signal)
{
    (void)signal;
    hits++;
}

static int table(int x)
{
    switch (x) {
    case 0: return 3;
    case 1: return 9;
    case 2: return 4;
    case 3: return 77;
    case 4: return 5;
    case 5: return 12;
    case 6: return 1;
    default: return hits;
    }
}

__attribute__((noinline)) static void deep(int n)
{
    if (n == 0)
        longjmp(from_depth, 7);
    deep(n - 1);
    __asm__ volatile("" ::: "memory");
}

__attribute__((noinline)) static int recursion(int n)
{
    volatile int kept = n;
    return n == 0 ? 0 : recursion(n - 1) + kept;
}

static void wait_for_alarm(void)
{
    struct itimerval soon = { { 0, 0 }, { 0, 5000 } };
    sigset_t alarm, before;
    sigemptyset(&alarm);
    sigaddset(&alarm, SIGALRM);
    sigprocmask(SIG_BLOCK, &alarm, &before);
    setitimer(ITIMER_REAL, &soon, NULL);
    sigsuspend(&before);
    sigprocmask(SIG_SETMASK, &before, NULL);
}

int main(void)
{
    signal(SIGSEGV, on_fault);
    signal(SIGUSR1, on_signal);
    signal(SIGUSR2, SIG_IGN);
    signal(SIGALRM, on_signal);
    for (int i = 0; i < 5; i++)
        if (sigsetjmp(from_handler, 1) == 0)
            *(volatile int *)8 = 1;
    raise(SIGUSR1);
    raise(SIGUSR2);
    kill(getpid(), SIGCHLD);
    if (setjmp(from_depth) == 0)
        deep(10);
    int total = recursion(100);
    for (int i = 0; i < 40; i++)
        total += table(i % 9);
    wait_for_alarm();
    /* The read sleeps until the alarm, whose handler restarts it; then it finds the end of its input. */
    struct itimerval soon = { { 0, 0 }, { 0, 5000 } };
    setitimer(ITIMER_REAL, &soon, NULL);
    char byte;
    total += (int)read(0, &byte, 1);
    printf("%d %d\n", total, hits);
    abort();
}
