/* Endless text in constant memory, in C: endless-c MODEL PROMPT [TOKENS [SEED]]
 *   cc endless.c $(pkg-config --cflags --libs runnel) -o endless-c */
#include <runnel/runnel.c.h>
#include <stdio.h>
#include <stdlib.h>

static int fail(void) {
  fprintf(stderr, "endless: %s\n", runnel_error());
  return 1;
}

int main(int argc, char** argv) {
  if (argc < 3) {
    fprintf(stderr, "usage: endless-c MODEL PROMPT [TOKENS [SEED]]\n");
    return 2;
  }
  runnel_sampling sampling;
  runnel_sampling_init(&sampling, sizeof sampling);
  sampling.seed = argc > 4 ? strtoull(argv[4], NULL, 10) : 0;
  runnel_stream_options options;
  runnel_stream_options_init(&options, sizeof options);
  options.sampling = &sampling;

  runnel_model* model = NULL;
  runnel_stream* stream = NULL;
  if (runnel_model_load(argv[1], NULL, &model) || runnel_stream_open(model, &options, &stream) ||
      runnel_stream_feed(stream, argv[2], RUNNEL_NUL, NULL, NULL, NULL))
    return fail();

  const long limit = argc > 3 ? atol(argv[3]) : -1;
  runnel_step step = {.size = sizeof step};
  for (long n = 0; n != limit; ++n) {
    if (runnel_stream_next(stream, &step)) return fail();
    fwrite(step.text, 1, step.text_bytes, stdout);
    fflush(stdout);
  }

  runnel_stream_info info = {.size = sizeof info};
  if (runnel_stream_get_info(stream, &info)) return fail();
  fprintf(stderr, "\nposition %lld, evicted %lld, %llu bytes\n", (long long)info.position,
          (long long)info.evicted, (unsigned long long)info.bytes);
  runnel_stream_close(stream);
  runnel_model_close(model);
  return 0;
}
