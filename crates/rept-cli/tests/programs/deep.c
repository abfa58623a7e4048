/* Allocates, sorts and prints by way of the C library, and follows a NULL at the end of a list. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct node {
    struct node *next;
    char name[24];
    int weight;
};

static int by_weight(const void *a, const void *b) {
    return (*(struct node *const *)a)->weight - (*(struct node *const *)b)->weight;
}

int main(void) {
    enum { COUNT = 40 };
    struct node *all[COUNT], *first = NULL;
    for (int i = 0; i < COUNT; i++) {
        all[i] = malloc(sizeof *all[i]);
        snprintf(all[i]->name, sizeof all[i]->name, "node %d", i);
        all[i]->weight = i * 37 % COUNT;
    }
    qsort(all, COUNT, sizeof *all, by_weight);
    for (int i = 0; i < COUNT; i++) {
        all[i]->next = first;
        first = all[i];
        printf("%s %zu\n", first->name, strlen(first->name));
    }
    int sum = 0;
    for (struct node *at = first; at->weight >= 0; at = at->next) sum += at->weight;
    return sum;
}
