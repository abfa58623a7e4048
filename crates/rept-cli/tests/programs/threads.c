/* Three threads that share a counter and a queue; the last one to finish crashes. */
#include <pthread.h>
#include <stdint.h>
#include <stddef.h>

enum { ROUNDS = 60 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t shared[16];
static int done;
static uint64_t *volatile last = shared;

static void *work(void *argument)
{
    uintptr_t self = (uintptr_t)argument;
    uint64_t sum = self;
    for (int round = 0; round < ROUNDS; round++) {
        sum = sum * 6364136223846793005u + 1442695040888963407u;
        pthread_mutex_lock(&lock);
        shared[(sum >> 40) % 16] += self;
        pthread_mutex_unlock(&lock);
    }
    pthread_mutex_lock(&lock);
    if (++done == 3)
        last = NULL;
    pthread_mutex_unlock(&lock);
    if (!last)
        *last = sum;
    return NULL;
}

int start(void)
{
    pthread_t threads[2];
    for (uintptr_t i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, work, (void *)(i + 2));
    work((void *)1);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    return 0;
}

int main(void)
{
    return start();
}
