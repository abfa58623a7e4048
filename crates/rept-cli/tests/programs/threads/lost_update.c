// A counter incremented by two threads without a lock. Sooner or later an increment is
// lost, and the difference, which should be 0, becomes an index.
#include <pthread.h>
#include <stdio.h>

enum { PER_ROUND = 20, ROUNDS = 2000 };

static volatile long counter;
static pthread_barrier_t together;
static long nothing = 42;
static long *slots[2 * PER_ROUND + 1] = { &nothing };

static void add_slowly(void)
{
	long seen = counter; // the race: read …
	for (volatile int work = 0; work < 3; work++)
		;
	counter = seen + 1; // … and written, with a gap in between
}

static void *worker(void *unused)
{
	(void)unused;
	for (int round = 0; round < ROUNDS; round++) {
		pthread_barrier_wait(&together);
		for (int i = 0; i < PER_ROUND; i++)
			add_slowly();
		pthread_barrier_wait(&together);
	}
	return NULL;
}

static long settle(long lost)
{
	return *slots[lost]; // NULL unless nothing was lost
}

int main(void)
{
	pthread_t threads[2];
	long sum = 0;
	pthread_barrier_init(&together, NULL, 3);
	for (int i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, worker, NULL);
	for (int round = 0; round < ROUNDS; round++) {
		counter = 0;
		pthread_barrier_wait(&together);
		pthread_barrier_wait(&together);
		sum += settle(2 * PER_ROUND - counter);
	}
	printf("%ld: nothing was ever lost\n", sum);
	return 0;
}
