// An encoder and a schedule in C++: c++ -O2 -std=c++17 -shared -fPIC -I include -o libcentred.so centred.cpp
#include "ldalign.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <exception>
#include <vector>

// No exception may leave a function that the host calls.
template <typename Work> static int guarded(const ldalign_error *error, Work work) {
  try {
    return work();
  } catch (const std::exception &e) {
    std::snprintf(error->text, error->room, "%s", e.what());
    return LDALIGN_FAILED;
  }
}

// States of the middle layer, less their mean over the round's samples.
struct Centred {
  const ldalign_host *host;
  std::vector<float> mean;

  int states(const ldalign_sample *samples, uint64_t n, float *out, const ldalign_error *error) const {
    return host->hidden_states(host, samples, n, (host->num_layers + 1) / 2, LDALIGN_MEAN, out, error);
  }
};

static void *create(const ldalign_host *host, int *code, const ldalign_error *error) {
  if (host->hidden_size == 0) {
    *code = LDALIGN_UNSUPPORTED;
    std::snprintf(error->text, error->room, "a model is needed");
    return nullptr;
  }
  return new Centred{host, std::vector<float>(host->hidden_size)};
}

static ldalign_shape shape(const void *self) { return {1, static_cast<const Centred *>(self)->mean.size()}; }

static int fit(void *object, const ldalign_corpus *corpus, const ldalign_error *error) {
  return guarded(error, [&] {
    auto &self = *static_cast<Centred *>(object);
    const size_t width = self.mean.size();
    std::vector<double> total(width);
    for (uint64_t first = 0; first < corpus->length; first += 16) {
      std::vector<uint64_t> indices;
      for (uint64_t i = first; i < std::min<uint64_t>(first + 16, corpus->length); i++) indices.push_back(i);
      std::vector<ldalign_sample> samples(indices.size());
      std::vector<float> states(samples.size() * width);
      if (int code = corpus->read(corpus, indices.data(), indices.size(), samples.data(), error)) return code;
      if (int code = self.states(samples.data(), samples.size(), states.data(), error)) return code;
      for (size_t i = 0; i < states.size(); i++) total[i % width] += states[i];
    }
    double squares = 0;
    for (size_t i = 0; i < width; i++) {
      self.mean[i] = static_cast<float>(total[i] / std::max<uint64_t>(corpus->length, 1));
      squares += static_cast<double>(self.mean[i]) * self.mean[i];
    }
    corpus->figure(corpus, "mean_length", std::sqrt(squares));
    return 0;
  });
}

static int encode(const void *object, const ldalign_sample *samples, uint64_t n, float *out, const ldalign_error *error) {
  const auto &self = *static_cast<const Centred *>(object);
  if (int code = self.states(samples, n, out, error)) return code;
  for (size_t i = 0; i < n * self.mean.size(); i++) out[i] -= self.mean[i % self.mean.size()];
  return 0;
}

static int save(const void *object, unsigned char *out, uint64_t room, uint64_t *bytes, const ldalign_error *) {
  const auto &mean = static_cast<const Centred *>(object)->mean;
  *bytes = mean.size() * sizeof(float);
  if (room >= *bytes) std::memcpy(out, mean.data(), *bytes);
  return 0;
}

static int load(void *object, const unsigned char *state, uint64_t bytes, const ldalign_error *error) {
  auto &mean = static_cast<Centred *>(object)->mean;
  if (bytes != mean.size() * sizeof(float)) {
    std::snprintf(error->text, error->room, "a state of another model");
    return LDALIGN_STATE;
  }
  std::memcpy(mean.data(), state, bytes);
  return 0;
}

static void destroy(void *self) { delete static_cast<Centred *>(self); }

// A distance beyond `least` counts, all such alike.
struct Step {
  double least;
};

static void *create_step(const ldalign_host *host, int *, const ldalign_error *) {
  double least = 0;
  host->number(host, "least", &least);
  return new Step{least};
}

static int weights(const void *self, const ldalign_step *, const float *distances, uint64_t n, float *out,
                   const ldalign_error *) {
  for (uint64_t i = 0; i < n; i++) out[i] = distances[i] > static_cast<const Step *>(self)->least ? 1.0f : 0.0f;
  return 0;
}

static void destroy_step(void *self) { delete static_cast<Step *>(self); }

extern "C" const ldalign_encoder *ldalign_encoder_1(void) {
  static const ldalign_encoder table = {sizeof(ldalign_encoder), create, shape, fit, encode, save, load, destroy};
  return &table;
}

extern "C" const ldalign_schedule *ldalign_schedule_1(void) {
  static const ldalign_schedule table = {sizeof(ldalign_schedule), create_step, nullptr, weights, destroy_step};
  return &table;
}
