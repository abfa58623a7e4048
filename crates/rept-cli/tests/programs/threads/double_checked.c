// Double-checked initialisation: the check outside the lock sees the instance before it
// is complete, and calls through its table.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { ROUNDS = 2000 };

struct codec {
	long (*decode)(long);
	long uses;
};

static struct codec *volatile instance;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_barrier_t together;
static long sums[2];

static long decode(long value)
{
	return value ^ 0x55;
}

static void load(struct codec *codec)
{
	for (volatile int work = 0; work < 20; work++)
		;
	codec->decode = decode;
}

static struct codec *codec(void)
{
	if (!instance) {
		pthread_mutex_lock(&lock);
		if (!instance) {
			instance = calloc(1, sizeof *instance); // visible from here on
			load(instance);                         // complete from here on
		}
		pthread_mutex_unlock(&lock);
	}
	return instance;
}

static void *worker(void *number)
{
	long self = (long)number;
	for (long round = 0; round < ROUNDS; round++) {
		pthread_barrier_wait(&together);
		for (volatile long late = self * (round * 13 % 96); late > 0; late--)
			; // sooner or later it comes just when the other one is at it
		sums[self] += codec()->decode(round);
		pthread_barrier_wait(&together);
	}
	return NULL;
}

int main(void)
{
	pthread_t threads[2];
	pthread_barrier_init(&together, NULL, 3);
	for (long i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, worker, (void *)i);
	for (long round = 0; round < ROUNDS; round++) {
		pthread_barrier_wait(&together);
		pthread_barrier_wait(&together);
		free(instance);
		instance = NULL;
	}
	printf("%ld: always complete\n", sums[0] + sums[1]);
	return 0;
}
