/* A list with a broken link, string instructions both ways, flags on the stack; dies of SIGSEGV. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct node {
    int value;
    struct node *next;
};

static int sum(const struct node *node)
{
    int total = 0;
    for (; node; node = node->next)
        total += node->value;
    return total;
}

static void strings(void)
{
    char bytes[200];
    memset(bytes, 1, sizeof bytes);
    char *to = bytes + 100, *from = bytes, *last = bytes + 49;
    unsigned long count = 60, few = 3;
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(count)::"memory");
    __asm__ volatile("std; rep stosb; cld" : "+D"(last), "+c"(few) : "a"(7) : "memory");
    __asm__ volatile("sub $128, %%rsp; pushfq; popfq; add $128, %%rsp" ::: "cc", "memory");
}

int main(int count, char **arguments)
{
    (void)arguments;
    struct node *list = NULL;
    for (int i = 0; i < 20; i++) {
        struct node *node = malloc(sizeof *node);
        node->value = i * count;
        node->next = list;
        list = node;
    }
    printf("%d\n", sum(list));
    strings();
    list->next->next = (struct node *)0x1234567890;
    return sum(list);
}
