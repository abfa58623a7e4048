/* A family of processes: a child that crashes after a child of its own has ended, and one that
   runs another program; aborts when both ended as they should. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

__attribute__((noinline)) static int work(int n)
{
    volatile int sum = 0;
    for (int i = 0; i < 500; i++)
        sum = sum * 3 + (i ^ n);
    return sum & 1;
}

static int ended(pid_t child)
{
    int status = 0;
    waitpid(child, &status, 0);
    return status;
}

__attribute__((noinline)) static void crashes(void)
{
    pid_t child = fork();
    if (child == 0)
        _exit(5 + 0 * work(1));
    *(volatile int *)8 = WEXITSTATUS(ended(child)) + work(2);
}

int main(int count, char **arguments)
{
    if (count > 1)
        return 7 + 0 * work(3);
    /* When it comes depends on the machine. */
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, 0);
    pid_t child = fork();
    if (child == 0)
        crashes();
    int crash = ended(child);
    child = vfork();
    if (child == 0) {
        execl(arguments[0], arguments[0], "other", NULL);
        _exit(1);
    }
    int status = ended(child);
    if (WIFSIGNALED(crash) && WTERMSIG(crash) == SIGSEGV && WEXITSTATUS(status) == 7)
        abort();
    return 1;
}
