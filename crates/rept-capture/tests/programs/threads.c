/* Two threads take turns under a mutex and a condition, a third sleeps in a read for ever;
   the main thread dies on a pointer that one of them planted. */
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int turn, total, ends[2];
static int *volatile box;

static void *take_turns(void *argument)
{
    long me = (long)argument;
    for (int i = 0; i < 6; i++) {
        pthread_mutex_lock(&mutex);
        while (turn % 2 != me)
            pthread_cond_wait(&changed, &mutex);
        total += i;
        turn++;
        pthread_cond_broadcast(&changed);
        pthread_mutex_unlock(&mutex);
    }
    if (me == 1)
        box = (int *)16;
    return NULL;
}

static void *sleep_for_ever(void *argument)
{
    char byte;
    return read(ends[0], &byte, 1) == 1 ? argument : NULL;
}

int main(void)
{
    pthread_t threads[3];
    if (pipe(ends) != 0)
        return 1;
    pthread_create(&threads[2], NULL, sleep_for_ever, NULL);
    for (long i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, take_turns, (void *)i);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    printf("%d\n", total);
    return *box;
}
