// Device functions as a C++ compiler makes them. Compiled with: nvcc -ptx -arch compute_80 functions.cu
#include <alloca.h>
#include <cassert>
#include <cstdio>

__constant__ int primes[8] = {2, 3, 5, 7, 11, 13, 17, 19};

struct Body {
    int words[5];
    double weight;
};

__device__ __noinline__ Body moved(Body body, int by) {
    body.words[by % 5] += by;
    body.weight *= 2;
    return body;
}

__device__ __noinline__ int fibonacci(int n) { return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2); }

__device__ int odd(int n);
__device__ __noinline__ int even(int n) { return n == 0 ? 1 : odd(n - 1); }
__device__ __noinline__ int odd(int n) { return n == 0 ? 0 : even(n - 1); }

__device__ __noinline__ void quicksort(int *values, int low, int high) {
    if (low >= high) return;
    int pivot = values[(low + high) / 2], i = low, j = high;
    while (i <= j) {
        while (values[i] < pivot) i++;
        while (values[j] > pivot) j--;
        if (i <= j) {
            int other = values[i];
            values[i++] = values[j];
            values[j--] = other;
        }
    }
    quicksort(values, low, j);
    quicksort(values, i, high);
}

struct Shape {
    __device__ virtual ~Shape() {}
    __device__ virtual int area(int scale) const = 0;
};
struct Square : Shape {
    int side;
    __device__ Square(int side) : side(side) {}
    __device__ int area(int scale) const override { return scale * side * side; }
};
struct Oblong : Shape {
    int width, height;
    __device__ Oblong(int width, int height) : width(width), height(height) {}
    __device__ int area(int scale) const override { return scale * width * height; }
};

__device__ __noinline__ int plus(int x, signed char c, short s) { return x + c + s; }
__device__ __noinline__ int times(int x, signed char c, short s) { return x * c * s; }
typedef int (*Operation)(int, signed char, short);
__device__ Operation operations[2] = {plus, times};

// out[8 * t ..]: what each function gives for thread t.
extern "C" __global__ void functions(int *out, int n) {
    int t = threadIdx.x;
    int *own = out + 8 * t;
    Body body;
    for (int i = 0; i < 5; i++) body.words[i] = i * t;
    body.weight = 1.5 * t;
    body = moved(body, t);
    own[0] = body.words[t % 5];
    own[1] = int(body.weight);
    own[2] = fibonacci(t % 12);
    own[3] = even(t);
    int values[40];
    unsigned state = t + 1;
    for (int i = 0; i < 40; i++) {
        state = state * 1664525u + 1013904223u;
        values[i] = int(state >> 16) % 1000;
    }
    quicksort(values, 0, 39);
    int wrong = 0, sum = 0;
    for (int i = 0; i < 40; i++) {
        sum += values[i];
        wrong += i > 0 && values[i - 1] > values[i];
    }
    own[4] = wrong ? -wrong : sum;
    Square square(t);
    Oblong oblong(t, n);
    const Shape *shape = t % 3 == 0 ? static_cast<const Shape *>(&square) : &oblong;
    own[5] = shape->area(primes[t % 8]);
    own[6] = operations[(t + n) % 2](t, -3, 100);
    char *bytes = static_cast<char *>(alloca(t + n));
    for (int i = 0; i < t + n; i++) bytes[i] = char(i);
    own[7] = fibonacci(5) + bytes[t];
}

extern "C" __global__ void prints(int n) {
    int t = threadIdx.x;
    if (blockIdx.x == 0 && t == 0) {
        int taken = printf("%d|%5i|%-5u|%o|%x|%#X|%c|%s|%%\n", -n, n, n, n, 255, 255, 'z', "text");
        printf("%f|%.2f|%10.3e|%g|%a|%lld|%llu|%hd|%5.3s|%d\n", 1.5, 2.25, 12345.678, 0.0001, 1.0, -1ll << 40, 1ull << 40, short(n), "abcdef", taken);
    }
    if (t % 2 == 0) printf("block %d thread %d\n", blockIdx.x, t);
}

extern "C" __global__ void asserts(int n) {
    printf("before %d\n", threadIdx.x);
    assert(int(threadIdx.x) < n && "too many");
}

struct Node {
    Node *next;
    int value;
};

// Each thread builds a list on the heap, adds it up, and frees it.
extern "C" __global__ void lists(int *out) {
    int t = blockIdx.x * blockDim.x + threadIdx.x;
    Node *head = nullptr;
    for (int i = 0; i <= t % 5; i++) {
        Node *node = new Node;
        if (!node) { out[t] = -1; return; }
        node->next = head;
        node->value = i + t;
        head = node;
    }
    int sum = 0;
    while (head) {
        sum += head->value;
        Node *next = head->next;
        delete head;
        head = next;
    }
    out[t] = sum;
}

extern "C" __global__ void exhausts(int *out) {
    void *much = malloc(size_t(1) << 30);
    void *little = malloc(64);
    out[0] = much == nullptr;
    out[1] = little != nullptr;
    free(little);
    free(nullptr);
    if (out[2] == 1) free(little);
}
