/* Asks for everything that differs from run to run, in every way there is, prints it, and decides
   by it where to go; looks at the list of its mappings as libraries do; ends by a store to nowhere. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <immintrin.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/times.h>
#include <time.h>
#include <unistd.h>

static unsigned long sum = 1;

static void add(const char *what, const void *at, size_t bytes)
{
    const unsigned char *byte = at;
    for (size_t i = 0; i < bytes; i++)
        sum = (sum ^ byte[i]) * 1099511628211u, sum = sum & 1 ? sum : sum >> 1;
    printf("%s %lx\n", what, sum);
}

static void clocks(void)
{
    struct timespec now;
    for (int clock = 0; clock < 8; clock++)
        if (clock_gettime(clock, &now) == 0)
            add("clock", &now, sizeof now);
    struct timeval day;
    gettimeofday(&day, 0);
    add("day", &day, sizeof day);
    time_t seconds;
    add("time", &(time_t){time(&seconds)}, sizeof seconds);
    add("seconds", &seconds, sizeof seconds);
    struct tms tms;
    add("ticks", &(clock_t){times(&tms)}, sizeof(clock_t));
    add("tms", &tms, sizeof tms);
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    add("usage", &usage, sizeof usage);
}

static void numbers(void)
{
    unsigned char bytes[37];
    add("auxv", (void *)getauxval(AT_RANDOM), 16);
    getrandom(bytes, sizeof bytes, 0);
    add("random", bytes, sizeof bytes);
    int fd = open("/dev/urandom", O_RDONLY);
    read(fd, bytes, sizeof bytes);
    add("device", bytes, sizeof bytes);
    close(fd);
}

__attribute__((target("rdrnd,rdseed"))) static void processor(void)
{
    unsigned long long ticks = __rdtsc(), number = 0;
    unsigned short small = 1;
    add("ticks", &ticks, sizeof ticks);
    unsigned core;
    ticks = __rdtscp(&core);
    add("ticks and core", &ticks, sizeof ticks);
    add("core", &core, sizeof core);
    if (__builtin_cpu_supports("rdrnd")) {
        add("drawn", &(int){_rdrand64_step(&number)}, sizeof(int));
        add("number", &number, sizeof number);
        _rdrand16_step(&small);
        add("small", &small, sizeof small);
    }
}

static void files(const char *path)
{
    struct stat file;
    struct statx more;
    memset(&more, 0, sizeof more);
    stat(path, &file);
    add("atime", &file.st_atim, sizeof file.st_atim);
    statx(AT_FDCWD, path, 0, STATX_BASIC_STATS, &more);
    add("statx", &more.stx_atime, sizeof more.stx_atime);
    fstat(0, &file);
    add("input", &file.st_atim, sizeof file.st_atim);
}

static void mappings(void)
{
    struct stat file;
    struct statx more;
    memset(&more, 0, sizeof more);
    FILE *maps = fopen("/proc/self/maps", "r");
    fstat(fileno(maps), &file);
    statx(fileno(maps), "", AT_EMPTY_PATH, STATX_BASIC_STATS, &more);
    printf("list %lo %ld %ld %ld %d\n", (long)file.st_mode, (long)file.st_size, (long)file.st_blksize,
           (long)file.st_blocks, file.st_ino == more.stx_ino && file.st_mode == more.stx_mode
           && file.st_size == more.stx_size && file.st_blksize == more.stx_blksize);
    fclose(maps);
    pthread_attr_t attributes;
    void *stack;
    size_t bytes;
    pthread_getattr_np(pthread_self(), &attributes);
    pthread_attr_getstack(&attributes, &stack, &bytes);
    printf("stack %d\n", (char *)&file >= (char *)stack && (char *)&file < (char *)stack + bytes);
}

int main(int count, char **arguments)
{
    clocks();
    numbers();
    processor();
    files(arguments[0]);
    mappings();
    fflush(stdout);
    volatile int *nowhere = 0;
    *nowhere = count;
    return 0;
}
