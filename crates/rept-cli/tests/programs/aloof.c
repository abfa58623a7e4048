/* Is not to be looked at by others than root, says so, and sleeps until it is ended. */
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>

int main(void)
{
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    puts("aloof");
    fflush(stdout);
    for (;;)
        pause();
}
