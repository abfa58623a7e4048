/* A timer signal every so often in the middle of everything, on a stack of its own, with a
   handler that leaves by siglongjmp now and then. What is counted must come out right; ends
   by abort when it does. */
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

static volatile sig_atomic_t alarms;
static sigjmp_buf out;
static volatile sig_atomic_t may_leave;

static void on_alarm(int number, siginfo_t *info, void *context)
{
    char room[512];
    memset(room, number, sizeof room);
    if (++alarms % 3 == 0 && may_leave)
        siglongjmp(out, 1);
}

static unsigned long work(unsigned long n)
{
    unsigned long sum = 1;
    char text[32];
    for (unsigned long i = 0; i < n; i++) {
        sum = sum * 6364136223846793005 + i;
        if (i % 1024 == 0)
            sum += snprintf(text, sizeof text, "%lu", sum & 7);
    }
    return sum;
}

int main(void)
{
    struct sigaction action = { .sa_sigaction = on_alarm, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART };
    stack_t other = { .ss_sp = malloc(65536), .ss_size = 65536 };
    unsigned long expected = work(20000);
    sigaltstack(&other, 0);
    sigaction(SIGALRM, &action, 0);
    struct itimerval often = { { 0, 700 }, { 0, 700 } };
    setitimer(ITIMER_REAL, &often, 0);
    for (int i = 0; i < 10 || alarms < 20; i++) {
        if (work(20000) != expected)
            return 1;
    }
    for (volatile int left = 0; left < 5;) {
        if (sigsetjmp(out, 1)) {
            may_leave = 0;
            left++;
        }
        may_leave = 1;
        work(2000);
    }
    may_leave = 0;
    if (work(20000) == expected)
        abort();
    return 2;
}
