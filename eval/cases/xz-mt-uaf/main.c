// Decodes an .xz file with several threads, from a source that delivers little at a time.
#include <stdio.h>
#include <unistd.h>
#include <lzma.h>

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
            stream.avail_in = fread(input, 1, sizeof input, file);
            usleep(500);
        }
        stream.next_out = output;
        stream.avail_out = sizeof output;
        result = lzma_code(&stream, feof(file) ? LZMA_FINISH : LZMA_RUN);
        written += sizeof output - stream.avail_out;
    }
    printf("result %d after %lu bytes\n", result, written);
    return 0;
}
