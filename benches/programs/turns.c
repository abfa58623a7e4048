// The same work by one thread, or by as many as THREADS says, then a crash. Each has a table of
// its own and, now and then, adds to one that all share. All are there when it crashes, and keep
// where their table is: so as much is certain of the work of each.
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>

#ifndef THREADS
#define THREADS 1
#endif

enum { TURNS = 24000, SLOTS = 64 };

static long tables[THREADS][SLOTS];
static long shared, done;

static void *work(void *number)
{
	long *table = tables[(long)number];
	for (long i = 0; i < TURNS / THREADS; i++) {
		table[i % SLOTS] += table[(i * 7) % SLOTS] + i;
		if (i % 32 == 0)
			__atomic_fetch_add(&shared, table[i % SLOTS], __ATOMIC_RELAXED);
	}
	long *volatile kept = table;
	__atomic_fetch_add(&done, 1, __ATOMIC_RELEASE);
	while (number) {
		long call = SYS_pause; // not by the library, which loses registers in doing so
		__asm__ volatile("syscall" : "+a"(call) : : "rcx", "r11", "memory");
	}
	return (void *)kept;
}

int main(void)
{
	pthread_t threads[THREADS];
	for (long i = 1; i < THREADS; i++)
		pthread_create(&threads[i], NULL, work, (void *)i);
	work((void *)0);
	while (__atomic_load_n(&done, __ATOMIC_ACQUIRE) < THREADS)
		sched_yield();
	return *(volatile int *)(shared & 1 | 16);
}
