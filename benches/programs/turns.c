// The same work by one thread, or by as many as THREADS says, then a crash. Each has a table of
// its own and, now and then, adds to one that all share.
#include <pthread.h>

#ifndef THREADS
#define THREADS 1
#endif

enum { TURNS = 24000, SLOTS = 64 };

static long tables[THREADS][SLOTS];
static long shared;

static void *work(void *number)
{
	long *table = tables[(long)number];
	for (long i = 0; i < TURNS / THREADS; i++) {
		table[i % SLOTS] += table[(i * 7) % SLOTS] + i;
		if (i % 32 == 0)
			__atomic_fetch_add(&shared, table[i % SLOTS], __ATOMIC_RELAXED);
	}
	return NULL;
}

int main(void)
{
	pthread_t threads[THREADS];
	for (long i = 1; i < THREADS; i++)
		pthread_create(&threads[i], NULL, work, (void *)i);
	work((void *)0);
	for (long i = 1; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	return *(volatile int *)(shared & 1 | 16);
}
