/* Copies records by their lengths, until one is too long and the copy runs out of its buffer. */
#include <stdio.h>
#include <stdlib.h>

struct record {
    unsigned length;
    unsigned kind;
};

static char text[4096];

__attribute__((noinline)) static void copy(char *to, const char *from, size_t bytes) {
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes) : : "memory");
}

__attribute__((noinline)) static void parse(struct record *record, const char *line) {
    record->length = strtoul(line, 0, 10) * 16;
    record->kind = line[0];
}

int main(int argc, char **argv) {
    struct record records[8];
    unsigned sum = 0;
    for (int i = 0; i < (int)sizeof text; i++)
        text[i] = i * 7 + argc;
    for (int i = 0; i < 8; i++) {
        char line[16];
        snprintf(line, sizeof line, "%d", i < 7 ? i * 7 + 3 : 40000000);
        parse(&records[i], line);
        sum += records[i].kind;
    }
    char *buffer = malloc(2048);
    for (int i = 0; i < 8; i++) {
        copy(buffer + sum % 64, text, records[i].length);
        for (unsigned k = 0; k < records[i].length; k++)
            sum = sum * 31 + buffer[k];
    }
    return sum;
}
