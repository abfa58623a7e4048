// A queue, correctly locked. The producer computes one job's pointer from a length that
// it did not check; the consumer crashes on it, long after, in another thread.
#include <pthread.h>
#include <stdio.h>

enum { JOBS = 40, CAPACITY = 4, BAD_JOB = 30 };

struct job {
	const long *input;
	long length;
};

static struct job queue[CAPACITY];
static int queued;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static long inputs[64];

static long claimed_length(int number)
{
	return number == BAD_JOB ? 0x7fffffffffff : number % 8 + 1; // from an input file, as it were
}

static struct job make_job(int number)
{
	long length = claimed_length(number);
	struct job job = { inputs + 64 - length, length }; // the culprit: far below the array
	return job;
}

static void put(struct job job)
{
	pthread_mutex_lock(&lock);
	while (queued == CAPACITY)
		pthread_cond_wait(&changed, &lock);
	queue[queued++] = job;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
}

static struct job take(void)
{
	pthread_mutex_lock(&lock);
	while (queued == 0)
		pthread_cond_wait(&changed, &lock);
	struct job job = queue[0];
	queued--;
	for (int i = 0; i < queued; i++)
		queue[i] = queue[i + 1];
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
	return job;
}

static void *producer(void *unused)
{
	(void)unused;
	for (int number = 0; number < JOBS; number++)
		put(make_job(number));
	return NULL;
}

int main(void)
{
	pthread_t thread;
	long sum = 0;
	for (int i = 0; i < 64; i++)
		inputs[i] = i;
	pthread_create(&thread, NULL, producer, NULL);
	for (int number = 0; number < JOBS; number++) {
		struct job job = take();
		for (long i = 0; i < job.length; i++)
			sum += job.input[i]; // the victim
	}
	pthread_join(thread, NULL);
	printf("%ld: every job was sound\n", sum);
	return 0;
}
