/* The Hellinger distance between latents as distributions: cc -O2 -shared -fPIC -I include -o libhellinger.so hellinger.c -lm */
#include "ldalign.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct {
  double temperature;
} hellinger;

static void *create(const ldalign_host *host, int *code, const ldalign_error *error) {
  double temperature = 1.0;
  host->number(host, "temperature", &temperature);
  if (!(temperature > 0)) {
    *code = LDALIGN_INPUT;
    snprintf(error->text, error->room, "temperature must be greater than 0, not %g", temperature);
    return NULL;
  }
  hellinger *self = malloc(sizeof *self);
  if (self) self->temperature = temperature;
  return self;
}

/* The largest of n numbers, and the sum of exp((x - largest) / temperature). */
static double sum(const float *x, uint64_t n, double temperature, double *largest) {
  double total = 0;
  *largest = -INFINITY;
  for (uint64_t i = 0; i < n; i++) *largest = fmax(*largest, x[i]);
  for (uint64_t i = 0; i < n; i++) total += exp((x[i] - *largest) / temperature);
  return total;
}

static int distances(const void *object, const float *a, const float *b, uint64_t n, ldalign_shape shape, float *out,
                     const ldalign_error *error) {
  const double temperature = ((const hellinger *)object)->temperature;
  const uint64_t each = shape.slots * shape.dim;
  (void)error;
  for (uint64_t i = 0; i < n; i++, a += each, b += each) {
    double most_a, most_b, squares = 0;
    const double sum_a = sum(a, each, temperature, &most_a), sum_b = sum(b, each, temperature, &most_b);
    for (uint64_t j = 0; j < each; j++) {
      const double p = exp((a[j] - most_a) / temperature) / sum_a, q = exp((b[j] - most_b) / temperature) / sum_b;
      squares += (sqrt(p) - sqrt(q)) * (sqrt(p) - sqrt(q));
    }
    out[i] = (float)sqrt(squares / 2);
  }
  return 0;
}

static const ldalign_distance table = {
    .size = sizeof table, .create = create, .distances = distances, .destroy = free};

const ldalign_distance *ldalign_distance_1(void) { return &table; }
