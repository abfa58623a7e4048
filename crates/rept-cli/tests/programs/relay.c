/* Two threads hand a token to and fro, as the processors let them; then a crash. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#define ROUNDS 300

static atomic_long token;

/* Who has the token is here. */
__attribute__((noinline)) void handed(long round)
{
    __asm__ volatile("" : : "r"(round) : "memory");
}

static void *run(void *argument)
{
    long mine = (long)argument;
    for (long round = 0; round < ROUNDS; round++) {
        while (atomic_load(&token) != mine)
            sched_yield();
        /* Locked: what was before it was before it for all. */
        atomic_fetch_or(&token, 0);
        handed(round);
        atomic_store(&token, 1 - mine);
    }
    return 0;
}

int main(void)
{
    pthread_t other;
    pthread_create(&other, 0, run, (void *)1);
    run((void *)0);
    pthread_join(other, 0);
    volatile int *nowhere = 0;
    *nowhere = 1;
    return 0;
}
