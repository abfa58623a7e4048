/* Loads and unloads a library again and again, so that other code comes to stand at the same
   addresses; ends by a jump to where it was. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

int main(void)
{
    double (*function)(double) = 0;
    double sum = 0;
    const char *names[] = { "libm.so.6", "libresolv.so.2", "libm.so.6" };
    for (int i = 0; i < 3; i++) {
        void *library = dlopen(names[i], RTLD_NOW);
        if (!library)
            return 1;
        void *found = dlsym(library, i == 1 ? "ns_get16" : "cbrt");
        if (i != 1) {
            function = (double (*)(double))found;
            sum += function(27);
        } else {
            sum += ((unsigned (*)(const unsigned char *))found)((const unsigned char *)"\1\2");
        }
        dlclose(library);
    }
    return (int)function(sum);
}
