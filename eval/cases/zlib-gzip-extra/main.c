// Reads a gzip stream in small pieces, and keeps the header's extra field, as archive tools do.
#include <stdio.h>
#include <string.h>
#include "zlib.h"

int main(void) {
    static unsigned char stream[4096], output[1024], extra[64];
    unsigned size = 0;
    const unsigned char head[] = {0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 3, 0xe8, 0x03};
    memcpy(stream, head, sizeof head);
    size = sizeof head;
    for (unsigned at = 0; at < 1000; at++) stream[size++] = (unsigned char)(at * 7);
    memcpy(stream + size, "\x03\x00", 2);
    size += 2 + 8;

    z_stream inflater = {0};
    gz_header header = {0};
    header.extra = extra;
    header.extra_max = sizeof extra;
    if (inflateInit2(&inflater, 15 + 16) != Z_OK) return 1;
    inflateGetHeader(&inflater, &header);
    int result = Z_OK;
    for (unsigned at = 0; at < size && result == Z_OK; at += 100) {
        inflater.next_in = stream + at;
        inflater.avail_in = size - at < 100 ? size - at : 100;
        inflater.next_out = output;
        inflater.avail_out = sizeof output;
        result = inflate(&inflater, Z_NO_FLUSH);
    }
    printf("result %d, extra field of %u bytes\n", result, header.extra_len);
    return 0;
}
