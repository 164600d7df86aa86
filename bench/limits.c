/* What this machine can do at most, measured: multiply-adds, reads by level, and vector erfc.
   gcc -O3 -march=native -ffast-math limits.c -lm; prints name value, one a line. Names as arguments
   ask for these alone. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + 1e-9 * t.tv_nsec;
}

typedef double v8 __attribute__((vector_size(64)));

/* In one of all vector registers: "x" would allow the first sixteen alone. */
#ifdef __AVX512F__
#define HELD(sum) "+v"(sum)
#else
#define HELD(sum) "+x"(sum)
#endif

static double fma_gflops(void) {
  /* Twelve sums of their own names: an array of them would lie in memory. */
  v8 one = {1, 2, 3, 4, 5, 6, 7, 8}, m, c;
  v8 a0 = one, a1 = one + 1, a2 = one + 2, a3 = one + 3, a4 = one + 4, a5 = one + 5;
  v8 a6 = one + 6, a7 = one + 7, a8 = one + 8, a9 = one + 9, b0 = one + 10, b1 = one + 11;
  for (int j = 0; j < 8; j++) m[j] = 0.999999, c[j] = 1e-9;
  double best = 1e9;
  for (int r = 0; r < 7; r++) {
    double t = now();
    for (int k = 0; k < 4000000; k++) {
      a0 = a0 * m + c, a1 = a1 * m + c, a2 = a2 * m + c, a3 = a3 * m + c;
      a4 = a4 * m + c, a5 = a5 * m + c, a6 = a6 * m + c, a7 = a7 * m + c;
      a8 = a8 * m + c, a9 = a9 * m + c, b0 = b0 * m + c, b1 = b1 * m + c;
      __asm__ volatile("" : HELD(a0), HELD(a1), HELD(a2), HELD(a3), HELD(a4), HELD(a5), HELD(a6),
                            HELD(a7), HELD(a8), HELD(a9), HELD(b0), HELD(b1));
    }
    t = now() - t;
    if (t < best) best = t;
  }
  v8 sum = a0 + a1 + a2 + a3 + a4 + a5 + a6 + a7 + a8 + a9 + b0 + b1;
  if (sum[0] == 0.12345) puts("");
  return 4000000.0 * 12 * 8 * 2 / best / 1e9;
}

static double read_gbs(size_t bytes) {
  size_t n = bytes / 8;
  double *x = aligned_alloc(64, bytes);
  for (size_t i = 0; i < n; i++) x[i] = i;
  size_t passes = (256u << 20) / bytes + 1;
  double best = 1e9, sum = 0;
  for (int r = 0; r < 7; r++) {
    double t = now();
    for (size_t p = 0; p < passes; p++) {
      v8 s[8];
      memset(s, 0, sizeof s);
      const v8 *v = (const v8 *)x;
      for (size_t i = 0; i + 8 <= n / 8; i += 8)
        for (int j = 0; j < 8; j++) s[j] += v[i + j];
      for (int j = 0; j < 8; j++) sum += s[j][0];
      __asm__ volatile("" ::"r"(x) : "memory");
    }
    t = now() - t;
    if (t < best) best = t;
  }
  free(x);
  if (sum == 0.12345) puts("");
  return passes * (double)bytes / best / 1e9;
}

static double erfc_mps(void) {
  enum { n = 1024 };
  static double x[n] __attribute__((aligned(64))), y[n] __attribute__((aligned(64)));
  for (int i = 0; i < n; i++) x[i] = i * 0.005;
  double best = 1e9;
  for (int r = 0; r < 25; r++) {
    double t = now();
    for (int k = 0; k < 1000; k++) {
      for (int i = 0; i < n; i++) y[i] = erfc(x[i]);
      __asm__ volatile("" ::"r"(y) : "memory");
    }
    t = now() - t;
    if (t < best) best = t;
  }
  return n * 1000.0 / best / 1e6;
}

static double l1_read(void) { return read_gbs(16u << 10); }
static double l2_read(void) { return read_gbs(512u << 10); }
static double l3_read(void) { return read_gbs(8u << 20); }
static double dram_read(void) { return read_gbs(768u << 20); }

static const struct {
  const char *name;
  double (*measure)(void);
} limits[] = {
    {"fma_gflops", fma_gflops}, {"l1_read_gbs", l1_read},     {"l2_read_gbs", l2_read},
    {"l3_read_gbs", l3_read},   {"dram_read_gbs", dram_read}, {"erfc_mps", erfc_mps},
};

static int asked(const char *name, int count, char **names) {
  for (int k = 1; k < count; k++)
    if (strcmp(names[k], name) == 0) return 1;
  return count < 2;
}

int main(int count, char **names) {
  for (size_t n = 0; n < sizeof limits / sizeof *limits; n++)
    if (asked(limits[n].name, count, names))
      printf("%s %.2f\n", limits[n].name, limits[n].measure());
  return 0;
}
