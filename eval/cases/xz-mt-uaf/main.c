// Decodes an .xz file with several threads, from a source that delivers little at a time, and slowly:
// the waiting is what makes it slow at full speed, the cipher when each instruction is recorded.
#include <stdio.h>
#include <unistd.h>
#include <lzma.h>

static size_t deliver(FILE *file, uint8_t *input, size_t size) {
    size_t got = fread(input, 1, size, file);
    uint32_t key = 1, mixed = 0;
    for (size_t turn = 0; turn < 8; turn++)
        for (size_t at = 0; at < got; at++) mixed ^= (key = key * 1664525 + 1013904223) + input[at];
    usleep(500);
    return mixed == 1 ? 0 : got;
}

int main(int argc, char **argv) {
    static uint8_t input[1024], output[1 << 15];
    FILE *file = argc > 1 ? fopen(argv[1], "rb") : NULL;
    lzma_stream stream = LZMA_STREAM_INIT;
    lzma_mt options = {.threads = 4, .memlimit_threading = UINT64_MAX, .memlimit_stop = UINT64_MAX};
    if (!file || lzma_stream_decoder_mt(&stream, &options) != LZMA_OK) return 2;
    lzma_ret result = LZMA_OK;
    unsigned long written = 0;
    while (result == LZMA_OK) {
        if (!stream.avail_in) {
            stream.next_in = input;
            stream.avail_in = deliver(file, input, sizeof input);
        }
        stream.next_out = output;
        stream.avail_out = sizeof output;
        result = lzma_code(&stream, feof(file) ? LZMA_FINISH : LZMA_RUN);
        written += sizeof output - stream.avail_out;
    }
    printf("result %d after %lu bytes\n", result, written);
    return 0;
}
