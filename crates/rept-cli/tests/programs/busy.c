/* Two threads that work and sleep until a file appears; then a crash. The argument is a
   directory: there the program says that it is ready, and looks for the file. */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

static volatile unsigned long sums[2];

static void work(volatile unsigned long *sum)
{
    for (int i = 0; i < 20000; i++)
        *sum = *sum * 31 + i;
}

static void *helper(void *unused)
{
    for (;;) {
        work(&sums[1]);
        usleep(1000);
    }
    return unused;
}

int main(int count, char **arguments)
{
    char path[4096];
    pthread_t thread;
    pthread_create(&thread, 0, helper, 0);
    snprintf(path, sizeof path, "%s/ready", arguments[1]);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    snprintf(path, sizeof path, "%s/stop", arguments[1]);
    while (access(path, F_OK) != 0)
        work(&sums[0]);
    *(volatile int *)8 = 1;
    return 0;
}
