/* What this machine can do at most, measured: multiply-adds, reads by level, and vector erfc.
   gcc -O3 -march=native -ffast-math limits.c -lm; prints name value, one a line. */
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

static double fma_gflops(void) {
  v8 a[12];
  for (int i = 0; i < 12; i++)
    for (int j = 0; j < 8; j++) a[i][j] = 1.0 + i + j;
  v8 m, c;
  for (int j = 0; j < 8; j++) m[j] = 0.999999, c[j] = 1e-9;
  double best = 1e9;
  for (int r = 0; r < 7; r++) {
    double t = now();
    for (int k = 0; k < 4000000; k++) {
      for (int i = 0; i < 12; i++) a[i] = a[i] * m + c;
      __asm__ volatile("" : "+x"(a[0]), "+x"(a[1]), "+x"(a[2]), "+x"(a[3]), "+x"(a[4]), "+x"(a[5]),
                            "+x"(a[6]), "+x"(a[7]), "+x"(a[8]), "+x"(a[9]), "+x"(a[10]),
                            "+x"(a[11]));
    }
    t = now() - t;
    if (t < best) best = t;
  }
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

int main(void) {
  printf("fma_gflops %.2f\n", fma_gflops());
  printf("l1_read_gbs %.2f\n", read_gbs(16u << 10));
  printf("l2_read_gbs %.2f\n", read_gbs(512u << 10));
  printf("l3_read_gbs %.2f\n", read_gbs(8u << 20));
  printf("dram_read_gbs %.2f\n", read_gbs(768u << 20));
  printf("erfc_mps %.2f\n", erfc_mps());
  return 0;
}
