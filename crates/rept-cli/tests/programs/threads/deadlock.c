// Two threads take two locks in opposite order and wait for each other for ever. The
// watchdog, as in a service, ends the process with SIGABRT.
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

static pthread_mutex_t accounts = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t journal = PTHREAD_MUTEX_INITIALIZER;
static pthread_barrier_t both_hold_one;
static volatile long balance = 100, entries;

static void *transfer(void *unused)
{
	(void)unused;
	pthread_mutex_lock(&accounts);
	balance -= 10;
	pthread_barrier_wait(&both_hold_one);
	pthread_mutex_lock(&journal); // held by audit
	entries++;
	pthread_mutex_unlock(&journal);
	pthread_mutex_unlock(&accounts);
	return NULL;
}

static void *audit(void *unused)
{
	(void)unused;
	pthread_mutex_lock(&journal);
	entries++;
	pthread_barrier_wait(&both_hold_one);
	pthread_mutex_lock(&accounts); // held by transfer
	balance += 0;
	pthread_mutex_unlock(&accounts);
	pthread_mutex_unlock(&journal);
	return NULL;
}

static void watchdog(void)
{
	struct timespec pause = { 0, 50 * 1000 * 1000 };
	for (int check = 0; check < 4; check++) {
		nanosleep(&pause, NULL);
		if (entries == 2)
			return;
	}
	abort();
}

int main(void)
{
	pthread_t threads[2];
	pthread_barrier_init(&both_hold_one, NULL, 2);
	pthread_create(&threads[0], NULL, transfer, NULL);
	pthread_create(&threads[1], NULL, audit, NULL);
	watchdog();
	return 0;
}
