/* Replaces itself twice: once from the first thread, once from another; children by fork,
   vfork and exec; ends by an illegal instruction. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void *replace(void *program)
{
    execl(program, program, "2", NULL);
    return 0;
}

static int runs(char *program)
{
    int status, sum = 0;
    if (fork() == 0)
        _exit(3);
    wait(&status);
    sum += WEXITSTATUS(status);
    if (vfork() == 0) {
        execl(program, program, "child", NULL);
        _exit(1);
    }
    wait(&status);
    return sum + WEXITSTATUS(status);
}

int main(int count, char **arguments)
{
    char *program = arguments[0];
    pthread_t thread;
    if (count == 1)
        execl(program, program, "1", NULL);
    switch (arguments[1][0]) {
    case 'c': _exit(4);
    case '1':
        pthread_create(&thread, 0, replace, program);
        pthread_join(thread, 0);
        break;
    default:
        if (runs(program) == 7)
            __builtin_trap();
    }
    return 1;
}
