/* Two threads write and read a pair of words with nothing to keep them apart, and crash, after a
   second, when one reads words that do not belong together; another sleeps, and must never be woken.
   With an argument they end when that time is over. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS = 4096, NEVER_TORN = 3, WOKEN = 4 };
static const int64_t EARLIEST = 1000, LATEST = 60000;

static struct {
    volatile uint64_t tag;
    volatile uint64_t value;
} pair;
static uint64_t common;
static int calm;
static volatile int over;

static int64_t milliseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

__attribute__((noinline)) static int is_torn(uint64_t number)
{
    pair.tag = 0;
    pair.value = number;
    pair.tag = 1;
    pair.value = (uint64_t)&common;
    uint64_t value = pair.value;
    return pair.tag == 1 && value != (uint64_t)&common;
}

__attribute__((noinline)) static void torn(void)
{
    *(volatile int *)8 = 1;
}

static void *work(void *begun)
{
    for (;;) {
        int seen = 0;
        for (uint64_t round = 0; round < ROUNDS; round++)
            seen |= is_torn(round);
        int64_t elapsed = milliseconds() - *(int64_t *)begun;
        if (seen && elapsed > EARLIEST && !calm)
            torn();
        if (elapsed > (calm ? EARLIEST : LATEST))
            return NULL;
    }
}

static void *rest(void *none)
{
    int queue = epoll_create1(0);
    struct epoll_event event;
    struct timespec moment = {0, 1000000};
    while (!over)
        if (epoll_wait(queue, &event, 1, 3) != 0 || poll(NULL, 0, 2) != 0 || nanosleep(&moment, NULL) != 0)
            _exit(WOKEN);
    return none;
}

int main(int count, char **words)
{
    pthread_t sleeper, worker;
    int64_t begun = milliseconds();
    calm = count > 1;
    pthread_create(&sleeper, NULL, rest, NULL);
    pthread_create(&worker, NULL, work, &begun);
    work(&begun);
    pthread_join(worker, NULL);
    over = 1;
    pthread_join(sleeper, NULL);
    return calm ? 0 : NEVER_TORN;
}
