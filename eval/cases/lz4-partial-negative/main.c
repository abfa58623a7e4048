// Compresses texts and shows the beginnings of them, as long as the arguments say.
#include <stdio.h>
#include <stdlib.h>
#include "lz4.h"

enum { TEXT = 4096 };

static int text(char *to, int number) {
    int size = 0;
    for (int line = 0; size < TEXT - 64; line++)
        size += sprintf(to + size, "%d: line %d of text %d\n", line * number % 97, line, number);
    return size;
}

int main(int argc, char **argv) {
    char *plain = malloc(TEXT), *packed = malloc(LZ4_COMPRESSBOUND(TEXT)), *shown = malloc(TEXT);
    for (int number = 1; number < argc; number++) {
        int size = text(plain, number);
        int length = LZ4_compress_default(plain, packed, size, LZ4_COMPRESSBOUND(TEXT));
        int got = LZ4_decompress_safe_partial(packed, shown, length, atoi(argv[number]), TEXT);
        printf("text %d: %d of %d bytes, from %d\n", number, got, size, length);
    }
    return 0;
}
