/* Forked, vforked and executed children, which are not recorded; exits with status 3. */
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

int main(void)
{
    int status = 0, total = 0;
    if (fork() == 0)
        _exit(1);
    wait(&status);
    total += WEXITSTATUS(status);
    char *arguments[] = { "sh", "-c", "exit 2", NULL };
    pid_t pid;
    if (posix_spawn(&pid, "/bin/sh", NULL, NULL, arguments, environ) == 0)
        waitpid(pid, &status, 0);
    total += WEXITSTATUS(status);
    printf("%d\n", total);
    return total;
}
