/* A program that looks at itself: its code, its mappings, its descriptors, the return
   addresses on its stack, the clock without a system call; ends by a division by zero. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

void start(void);

static unsigned code(void)
{
    unsigned sum = 0;
    for (const unsigned char *at = (void *)start; at < (const unsigned char *)start + 64; at++)
        sum = sum * 131 + *at;
    return sum;
}

__attribute__((noinline)) static unsigned called(void)
{
    const unsigned char *from = __builtin_return_address(0);
    return from[-5] == 0xe8;
}

static int mappings(const char *path)
{
    char line[512];
    int lines = 0;
    FILE *maps = fopen(path, "r");
    while (fgets(line, sizeof line, maps))
        lines++;
    fclose(maps);
    return lines;
}

static int descriptors(void)
{
    int open = 0;
    for (int fd = 0; fd < 64; fd++)
        open += fcntl(fd, F_GETFD) >= 0;
    return open;
}

void start(void)
{
    struct timespec before, after;
    clock_gettime(CLOCK_MONOTONIC, &before);
    char text[200];
    int length = snprintf(text, sizeof text, "%u %u %d %d %d\n", code(), called(),
                          mappings("/proc/self/maps"), mappings("/proc/thread-self/smaps"), descriptors());
    write(1, text, length);
    clock_gettime(CLOCK_MONOTONIC, &after);
    int late = after.tv_sec < before.tv_sec;
    __asm__ volatile("divl %1" ::"a"(1), "r"(late), "d"(0) : "cc");
}

int main(void)
{
    start();
    return 0;
}
