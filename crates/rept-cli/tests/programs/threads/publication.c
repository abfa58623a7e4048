// A message is published before it is filled in: the pointer is stored first, its fields
// after. (Written out in that order; on x86 only the compiler would reorder the stores.)
// The reader follows a field that still holds what the memory held before.
#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum { MESSAGES = 4000 };

struct message {
	const char *text;
	long length;
};

static struct message pool[MESSAGES];
static struct message *volatile published;
static volatile long taken;

static void *writer(void *unused)
{
	(void)unused;
	for (long i = 0; i < MESSAGES; i++) {
		struct message *message = &pool[i];
		published = message; // too early
		message->length = 5 + i % 3;
		__asm__ volatile("" ::: "memory");
		message->text = "hello, reader";
		while (taken <= i)
			;
	}
	return NULL;
}

static char last_character(const struct message *message)
{
	return message->text[message->length - 1];
}

int main(void)
{
	pthread_t thread;
	long sum = 0;
	memset(pool, 0xa5, sizeof pool); // what the memory held before
	pthread_create(&thread, NULL, writer, NULL);
	for (long i = 0; i < MESSAGES; i++) {
		while (published != &pool[i])
			;
		sum += last_character(published);
		taken = i + 1;
	}
	pthread_join(thread, NULL);
	printf("%ld: always in time\n", sum);
	return 0;
}
