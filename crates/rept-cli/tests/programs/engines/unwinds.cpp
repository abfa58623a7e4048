// Exceptions through frames with destructors, out of callbacks of C code, rethrown; ends by
// one that nobody catches.
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

static int destroyed;

struct Guard {
    ~Guard() { destroyed++; }
};

static int compare(const void *a, const void *b)
{
    Guard guard;
    if (*static_cast<const int *>(a) == 7)
        throw std::runtime_error("seven");
    return *static_cast<const int *>(a) - *static_cast<const int *>(b);
}

static int deep(int n)
{
    Guard guard;
    std::string text(n, 'x');
    if (n == 0)
        throw n;
    return deep(n - 1) + static_cast<int>(text.size());
}

int main()
{
    for (int i = 0; i < 4; i++) {
        try {
            deep(i);
        } catch (int) {
        }
    }
    try {
        std::vector<int> values{3, 9, 7, 1};
        qsort(values.data(), values.size(), sizeof(int), compare);
    } catch (const std::exception &) {
        try {
            throw;
        } catch (const std::runtime_error &error) {
            destroyed += error.what()[0] == 's';
        }
    }
    if (destroyed > 10)
        throw destroyed;
    return 1;
}
