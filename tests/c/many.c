/* many MODEL MODELS STREAMS: opens and closes that many models, and streams of each in every way; prints by how many
 * KiB the resident memory has grown since a first tenth of them. */
#include <runnel/runnel.c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check(runnel_status status) {
  if (status == RUNNEL_OK) return;
  fprintf(stderr, "many: %s\n", runnel_error());
  exit(1);
}

static long resident_kib(void) {
  char line[256];
  long kib = 0;
  FILE* status = fopen("/proc/self/status", "r");
  while (status != NULL && fgets(line, sizeof line, status) != NULL)
    if (sscanf(line, "VmRSS: %ld", &kib) == 1) break;
  if (status != NULL) fclose(status);
  return kib;
}

static void use_stream(const runnel_model* model) {
  runnel_stream_options options;
  runnel_stream_options_init(&options, sizeof options);
  options.window = 20;
  runnel_stream *stream = NULL, *fork = NULL, *resumed = NULL;
  const runnel_token prompt[] = {1, 2, 3, 4, 5};
  void* saved = NULL;
  size_t n_saved = 0, n_values = 0;
  runnel_attention* attention = NULL;
  float* nll = NULL;
  check(runnel_stream_open(model, &options, &stream));
  check(runnel_stream_score(stream, prompt, 5, NULL, NULL, &nll, &n_values));
  check(runnel_stream_fork(stream, &fork));
  check(runnel_stream_save_memory(stream, &saved, &n_saved));
  check(runnel_stream_resume_memory(model, saved, n_saved, &resumed));
  check(runnel_stream_attention(fork, 1, &attention));
  check(runnel_stream_next(resumed, NULL));
  if (runnel_stream_push(stream, -1, NULL) == RUNNEL_OK) exit(1);
  runnel_free(attention);
  runnel_free(saved);
  runnel_free(nll);
  runnel_stream_close(fork);
  runnel_stream_close(stream);
  runnel_stream_close(resumed);
}

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  const int n_models = atoi(argv[2]), n_streams = atoi(argv[3]);
  runnel_model_options options;
  runnel_model_options_init(&options, sizeof options);
  options.threads = 2;
  long before = 0;
  for (int i = 0; i < n_models; ++i) {
    if (i == (n_models + 9) / 10) before = resident_kib();
    runnel_model* model = NULL;
    check(runnel_model_load(argv[1], &options, &model));
    for (int s = 0; s < n_streams; ++s) use_stream(model);
    runnel_model_close(model);
  }
  printf("%ld\n", resident_kib() - before);
  return 0;
}
