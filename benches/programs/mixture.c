// What programs do all day, in small: hashing, sorting, text, lists, numbers. It ends by a signal.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct node {
    struct node *next;
    char key[24];
    double weight;
    unsigned count;
};

static struct node *table[512];

static unsigned hash(const char *text) {
    unsigned h = 2166136261u;
    while (*text)
        h = (h ^ (unsigned char)*text++) * 16777619u;
    return h;
}

static struct node *find(const char *key) {
    struct node **slot = &table[hash(key) % 512];
    for (; *slot; slot = &(*slot)->next)
        if (strcmp((*slot)->key, key) == 0)
            return *slot;
    *slot = calloc(1, sizeof **slot);
    snprintf((*slot)->key, sizeof (*slot)->key, "%s", key);
    return *slot;
}

static int by_weight(const void *a, const void *b) {
    const struct node *x = *(struct node *const *)a, *y = *(struct node *const *)b;
    return x->weight < y->weight ? 1 : x->weight > y->weight ? -1 : strcmp(x->key, y->key);
}

int main(void) {
    struct node *all[512 * 4];
    char key[32];
    size_t n = 0;
    for (unsigned i = 0; i < 1500; i++) {
        snprintf(key, sizeof key, "word-%u", i * 7919u % 701u);
        struct node *node = find(key);
        node->count++;
        node->weight += i * 0.25;
    }
    for (int slot = 0; slot < 512; slot++)
        for (struct node *node = table[slot]; node; node = node->next)
            all[n++] = node;
    qsort(all, n, sizeof *all, by_weight);
    unsigned long sum = 0;
    for (size_t i = 0; i < n; i++)
        sum = (sum << 5 | sum >> 59) + strlen(all[i]->key) / (all[i]->count + 1);
    *(volatile unsigned long *)(sum & 8) = sum;
    return 0;
}
