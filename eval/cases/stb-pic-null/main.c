/* Loads a picture and adds up its bytes. */

#include <stdio.h>

extern unsigned char *stbi_load(const char *path, int *width, int *height, int *depth, int wanted);

int main(int argc, char **argv) {
    int width, height, depth;
    unsigned char *pixels = argc > 1 ? stbi_load(argv[1], &width, &height, &depth, 0) : NULL;
    if (pixels == NULL) {
        puts("no picture");
        return 1;
    }
    long sum = 0;
    for (long at = 0; at < (long)width * height * depth; at++)
        sum += pixels[at];
    printf("%d x %d, %ld\n", width, height, sum);
    return 0;
}
