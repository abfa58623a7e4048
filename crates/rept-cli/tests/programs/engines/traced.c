/* Wants to be traced by its parent, which it is not, and not to be looked at; ends by a store to
   nowhere. */
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>

int main(void)
{
    volatile long sum = 0;
    for (int i = 0; i < 3000; i++)
        sum += i;
    long traced = ptrace(PTRACE_TRACEME, 0, 0, 0);
    int dumpable = prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    printf("%ld %d %d\n", traced, dumpable, prctl(PR_GET_DUMPABLE, 0, 0, 0, 0));
    fflush(stdout);
    *(volatile long *)8 = sum;
    return 0;
}
