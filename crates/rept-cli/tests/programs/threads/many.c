// A thousand threads, each of a thousand steps and more, all ended when the crash comes.
#include <pthread.h>

enum { THREADS = 999, TURNS = 48, SLOTS = 16 };

static long tables[THREADS][SLOTS];
static long shared;

static void *work(void *number)
{
	long *table = tables[(long)number];
	for (long i = 0; i < TURNS; i++) {
		table[i % SLOTS] += table[(i * 7) % SLOTS] + i;
		if (i % 32 == 0)
			__atomic_fetch_add(&shared, table[i % SLOTS], __ATOMIC_RELAXED);
	}
	return NULL;
}

int main(void)
{
	pthread_t threads[THREADS];
	for (long i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, work, (void *)i);
	for (long i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	return *(volatile int *)(shared & 1 | 16);
}
