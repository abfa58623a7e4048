/* Runs for long within a function that returns shortly before the crash: of a small ring, only its
 * end is kept, and its frame was made before. Without optimisation frames are left by `leave`. */
#pragma GCC optimize("O0", "no-omit-frame-pointer")
#include <stdlib.h>

struct item {
    int key;
    struct item *next;
};

static struct item *head;

static int mix(int a, int b)
{
    return a * 31 + b;
}

static void insert(int key)
{
    struct item *item = malloc(sizeof *item);
    item->key = key;
    item->next = head;
    head = item;
}

static int total(int limit)
{
    int sum = 0, seen = 0;
    for (struct item *item = head; item && seen < limit; item = item->next, seen++)
        sum = mix(sum, item->key);
    return sum;
}

static int work(int rounds)
{
    int sum = 0;
    for (int round = 0; round < rounds; round++) {
        insert(round);
        sum += total(10);
    }
    return sum;
}

int main(void)
{
    int sum = work(3000);
    insert(sum);
    sum += total(5);
    *(volatile int *)(long)(sum & 0) = 1;
    return 0;
}
