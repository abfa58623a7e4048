// One thread frees a node that another still holds, and reuses the memory for text. The
// holder then follows a pointer made of letters.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 4000 };

struct node {
	long *total;
	long weight;
	long pad[2];
};

static struct node *volatile shared;
static volatile long freed;
static long total;

static void *recycler(void *unused)
{
	(void)unused;
	for (long round = 0; round < ROUNDS; round++) {
		while (!shared)
			;
		struct node *node = shared;
		shared = NULL;
		free(node); // the reader may be using it
		char *text = malloc(sizeof *node);
		memcpy(text, "AAAAAAAABBBBBBBBCCCCCCCC", 24);
		freed = round + 1;
		free(text);
	}
	return NULL;
}

static void account(struct node *node)
{
	for (volatile int work = 0; work < 50; work++)
		;
	__asm__ volatile("" ::: "memory"); // the fields are read here, not before
	*node->total += node->weight;
}

int main(void)
{
	pthread_t thread;
	pthread_create(&thread, NULL, recycler, NULL);
	for (long round = 0; round < ROUNDS; round++) {
		struct node *node = calloc(1, sizeof *node);
		node->total = &total;
		node->weight = round;
		shared = node;
		account(node); // nobody promised that it lives so long
		while (freed <= round)
			;
	}
	pthread_join(thread, NULL);
	printf("%ld: always alive\n", total);
	return 0;
}
