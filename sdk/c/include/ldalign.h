/*
 * Encoders, distances and schedules for LD-Align in C, or in whatever can export C functions.
 *
 * A shared library exports one function or more of
 *
 *     const ldalign_encoder  *ldalign_encoder_1(void);
 *     const ldalign_distance *ldalign_distance_1(void);
 *     const ldalign_schedule *ldalign_schedule_1(void);
 *
 * each of which returns a table that lives as long as the program. A table begins with its own size, by which a library
 * that was compiled with another header is refused. The bundled plugin `c` loads the library:
 *
 *     distance: { plugin: c, options: { library: ./libmine.so, args: { temperature: 2.0 } } }
 *
 * Every call owes what a plugin in Rust owes (docs/plugin-abi.md): calls of one object may come from several threads at
 * once, but `create`, `fit`, `begin_round`, `load` and `destroy` come alone; memory belongs to whoever made it, and what a
 * call is given is valid until it returns. Functions return 0, or another number after they wrote a message; no exception
 * of C++ and no longjmp may leave them. `ldalign plugin check libmine.so` tells whether the rules are kept.
 */
#ifndef LDALIGN_H
#define LDALIGN_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Room for a message: what is longer than `room` bytes, the final 0 among them, is to be cut. snprintf does. */
typedef struct ldalign_error {
  char *text;
  uint64_t room;
} ldalign_error;

/* A prompt with a response: UTF-8 without a final 0, and ids of the policy's tokenizer. */
typedef struct ldalign_sample {
  const char *prompt;
  uint64_t prompt_bytes;
  const char *response;
  uint64_t response_bytes;
  const uint32_t *prompt_ids;
  uint64_t prompt_tokens;
  const uint32_t *response_ids;
  uint64_t response_tokens;
} ldalign_sample;

/* `slots` vectors of `dim` numbers. */
typedef struct ldalign_shape {
  uint64_t slots;
  uint64_t dim;
} ldalign_shape;

/* Where training stands, counted from 0; `progress` goes from 0 to 1. */
typedef struct ldalign_step {
  uint64_t round, rounds, step, total_steps;
  float progress;
} ldalign_step;

enum { LDALIGN_WARN = 1, LDALIGN_INFO = 2, LDALIGN_DEBUG = 3 };
enum { LDALIGN_MEAN = 1, LDALIGN_LAST = 2, LDALIGN_MEAN_ALL = 3 };
/* What a function may return beside 0: the input cannot be worked on, a state does not fit, a model is needed. */
enum { LDALIGN_FAILED = 1, LDALIGN_INPUT = 2, LDALIGN_STATE = 3, LDALIGN_UNSUPPORTED = 4 };

/* What the host does for an object, which may keep the pointer until `destroy` returns. */
typedef struct ldalign_host {
  uint64_t size; /* of this table */
  void *self;
  uint64_t seed;
  uint64_t threads;
  /* Of the policy model; 0 where there is none. Layers are numbered from 0, the embeddings, to num_layers. */
  uint64_t hidden_size, num_layers, vocab_size;
  /* The argument of that name in the config: 1 and its value, or 0 where it is not given. In `create` alone: what the
   * config gives and nothing asks for is refused. Texts live as long as the object. */
  int (*number)(const struct ldalign_host *host, const char *name, double *value);
  int (*text)(const struct ldalign_host *host, const char *name, const char **value);
  void (*log)(const struct ldalign_host *host, int level, const char *message);
  void (*progress)(const struct ldalign_host *host, float fraction, const char *note);
  int (*cancelled)(const struct ldalign_host *host);
  /* States of the policy after a layer, pooled: `out` has n x hidden_size numbers. */
  int (*hidden_states)(const struct ldalign_host *host, const ldalign_sample *samples, uint64_t n, uint64_t layer,
                       int pooling, float *out, const ldalign_error *error);
  /* Those of every token of prompts and responses, sample after sample. */
  int (*token_states)(const struct ldalign_host *host, const ldalign_sample *samples, uint64_t n, uint64_t layer, float *out,
                      const ldalign_error *error);
  /* Negative log-likelihoods of the responses after prompts and soft prefixes [n, k, hidden_size]; `gradients` is NULL or
   * takes their derivatives. */
  int (*prefix_nll)(const struct ldalign_host *host, const ldalign_sample *samples, uint64_t n, const float *prefixes,
                    uint64_t k, float *nll, float *gradients, const ldalign_error *error);
} ldalign_host;

/* The samples of a round: 2i the golden, 2i + 1 the generated response of row i. */
typedef struct ldalign_corpus {
  void *self;
  uint64_t length;
  /* Samples by index into `out`, valid until the next read. */
  int (*read)(const struct ldalign_corpus *corpus, const uint64_t *indices, uint64_t n, ldalign_sample *out,
              const ldalign_error *error);
  /* A figure of the fit, for the report. */
  void (*figure)(const struct ldalign_corpus *corpus, const char *name, double value);
} ldalign_corpus;

/* State as bytes: `save` writes at most `room` of them to `out` and their whole number to `*bytes`; it is asked again with
 * more room where that was too little. `save` and `load` are both there or both NULL. */
typedef int (*ldalign_save)(const void *self, unsigned char *out, uint64_t room, uint64_t *bytes, const ldalign_error *error);
typedef int (*ldalign_load)(void *self, const unsigned char *state, uint64_t bytes, const ldalign_error *error);

typedef struct ldalign_encoder {
  uint64_t size; /* sizeof(ldalign_encoder) */
  /* An object, or NULL after a message was written; `*code` says of which kind the error is. */
  void *(*create)(const ldalign_host *host, int *code, const ldalign_error *error);
  ldalign_shape (*shape)(const void *self);
  int (*fit)(void *self, const ldalign_corpus *corpus, const ldalign_error *error); /* or NULL */
  /* n latents, one after the other. */
  int (*encode)(const void *self, const ldalign_sample *samples, uint64_t n, float *out, const ldalign_error *error);
  ldalign_save save;
  ldalign_load load;
  void (*destroy)(void *self);
} ldalign_encoder;

typedef struct ldalign_distance {
  uint64_t size; /* sizeof(ldalign_distance) */
  void *(*create)(const ldalign_host *host, int *code, const ldalign_error *error);
  /* Pair i at index i of both; or NULL. */
  int (*fit)(void *self, const float *golden, const float *generated, uint64_t n, ldalign_shape shape,
             const ldalign_error *error);
  /* n distances, finite and at least 0. The host gives finite latents alone. */
  int (*distances)(const void *self, const float *a, const float *b, uint64_t n, ldalign_shape shape, float *out,
                   const ldalign_error *error);
  ldalign_save save;
  ldalign_load load;
  void (*destroy)(void *self);
} ldalign_distance;

typedef struct ldalign_schedule {
  uint64_t size; /* sizeof(ldalign_schedule) */
  void *(*create)(const ldalign_host *host, int *code, const ldalign_error *error);
  int (*begin_round)(void *self, const float *distances, uint64_t n, const ldalign_error *error); /* or NULL */
  /* n weights, finite and at least 0. */
  int (*weights)(const void *self, const ldalign_step *step, const float *distances, uint64_t n, float *out,
                 const ldalign_error *error);
  void (*destroy)(void *self);
} ldalign_schedule;

#ifdef __cplusplus
}
#endif

#endif
