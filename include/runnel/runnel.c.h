/* clang-format off */
/* Language models on endless streams, for C and for whatever speaks C.
 *
 *   runnel_model* model = NULL;
 *   runnel_stream* stream = NULL;
 *   if (runnel_model_load("model.gguf", NULL, &model) || runnel_stream_open(model, NULL, &stream) ||
 *       runnel_stream_feed(stream, "Once upon a time", RUNNEL_NUL, NULL, NULL, NULL))
 *     return fail(runnel_error());
 *   runnel_step step = {sizeof step};
 *   while (runnel_stream_next(stream, &step) == RUNNEL_OK) fwrite(step.text, 1, step.text_bytes, stdout);
 *
 * Errors. A function that can fail returns a status; runnel_error() is then the text of it, for the
 * calling thread. It names the thing, what was wanted and what was found. A failed call changes
 * nothing, unless it says otherwise. No exception and no signal leaves the library.
 *
 * Structs begin with their size, which the caller sets: a field that the caller's size leaves out
 * has its default, and one that this library does not know must be zero. So programs and
 * libraries of different ages go together. Numbers in an options struct are what its _init function
 * sets until the caller changes them; NULL in place of a struct means all defaults.
 *
 * Memory. What a function returns through `char**`, `runnel_token**` and the like is the caller's,
 * to be given back to runnel_free(). `const` pointers belong to the library and live as long as it
 * says. A stream keeps its model alive: handles may be closed in any order.
 *
 * Threads. A model may be used by many threads at once, a stream by one at a time. Streams of one
 * model take turns; streams of different models run at once.
 *
 * Text is bytes and a length; RUNNEL_NUL as the length means up to the first zero byte. */
/* clang-format on */
#ifndef RUNNEL_C_H
#define RUNNEL_C_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define RUNNEL_API __attribute__((visibility("default")))
#else
#define RUNNEL_API
#endif

#define RUNNEL_NUL ((size_t)-1)

typedef struct runnel_model runnel_model;
typedef struct runnel_stream runnel_stream;
typedef int32_t runnel_token;

typedef enum runnel_status {
  RUNNEL_OK = 0,
  RUNNEL_ERROR = 1,      /* a bad request, a bad file */
  RUNNEL_FILE_ERROR = 2, /* a file that cannot be opened, read or written */
  RUNNEL_NO_MEMORY = 3,  /* nothing has changed */
  RUNNEL_INTERNAL = 4    /* a fault of the library's own */
} runnel_status;

/* The text of the calling thread's last failed call; empty before one. Valid until its next. */
RUNNEL_API const char* runnel_error(void);
RUNNEL_API const char* runnel_version(void); /* "0.1.0" */
/* Gives back what the library returned for the caller to own; NULL is allowed. */
RUNNEL_API void runnel_free(void* memory);

/* Called after each part of a long call; anything but 0 stops it there. */
typedef int (*runnel_progress)(void* user, int64_t done, int64_t all);

/* ---- Models ---- */

typedef struct runnel_model_options {
  size_t size;
  int32_t threads;          /* 0: one for each core this process may use */
  int32_t vocabulary_only;  /* not 0: the tokenizer alone; such a model opens no streams */
  runnel_progress progress; /* bytes of weights made ready; stopped, the load fails; may be NULL */
  void* user;
  const char* device;    /* NULL or "cpu"; "gpu": OpenCL's first; "opencl:N" of the devices below */
  int32_t device_layers; /* so many run there, the rest on the processor; -1: all, the default */
  int32_t exact; /* not 0: quantised weights are multiplied with floats; several times slower */
  uint64_t device_memory;   /* bytes taken on the device at most; 0: what it has */
  const char* packed_cache; /* a folder where weights are kept as they were packed; NULL: none */
} runnel_model_options;
RUNNEL_API void runnel_model_options_init(runnel_model_options* options, size_t size);

/* Maps a GGUF file, or the files of a folder as transformers saves it. */
RUNNEL_API runnel_status runnel_model_load(const char* path, const runnel_model_options* options,
                                           runnel_model** model);
/* The same from a file's bytes, which must outlive the model and its streams; `name` stands for the
 * path in errors. */
RUNNEL_API runnel_status runnel_model_load_memory(const void* bytes, size_t n_bytes,
                                                  const char* name,
                                                  const runnel_model_options* options,
                                                  runnel_model** model);
RUNNEL_API void runnel_model_close(runnel_model* model);

typedef struct runnel_model_info {
  size_t size;
  const char* name;            /* general.name, or the file's name; lives with the model */
  const char* architecture;    /* "llama"; empty when only the vocabulary was loaded */
  const char* instruction_set; /* of the kernels chosen at start: "avx512" */
  int32_t vocabulary_size;
  int32_t trained_context; /* tokens */
  int32_t layers;
  int32_t threads;
  runnel_token bos; /* -1: none */
  runnel_token eos; /* -1: none */
  uint64_t weight_bytes;
  const char* device;    /* that runs layers, by its name; lives with the model */
  int32_t device_layers; /* on it; 0: all on the processor */
  uint64_t device_bytes; /* its memory: weights, caches, buffers */
  uint64_t device_launches;
  double device_seconds; /* in steps, until their results came back */
} runnel_model_info;
RUNNEL_API runnel_status runnel_model_get_info(const runnel_model* model, runnel_model_info* info);

typedef struct runnel_device {
  const char* id; /* "opencl:0", for runnel_model_options.device */
  const char* name;
  const char* driver;
  int32_t is_gpu;
  int32_t units;
  uint64_t memory_bytes;
  uint64_t largest_buffer_bytes;
} runnel_device;
/* What OpenCL offers on this machine, GPUs first, in one piece of memory (runnel_free). Where that
 * is nothing, *n is 0 and runnel_error() says why. */
RUNNEL_API runnel_status runnel_list_devices(runnel_device** devices, size_t* n);

enum { RUNNEL_ADD_BOS = 1, RUNNEL_PARSE_SPECIAL = 2 };
/* `flags`: BOS first, where the model has one; control tokens written in the text become tokens. */
RUNNEL_API runnel_status runnel_tokenize(const runnel_model* model, const char* text,
                                         size_t n_bytes, int32_t flags, runnel_token** tokens,
                                         size_t* n_tokens);
/* The text, with a zero byte behind its n_bytes. */
RUNNEL_API runnel_status runnel_detokenize(const runnel_model* model, const runnel_token* tokens,
                                           size_t n_tokens, char** text, size_t* n_bytes);
/* The bytes of one token, likewise; may be half a UTF-8 character. */
RUNNEL_API runnel_status runnel_token_text(const runnel_model* model, runnel_token token,
                                           char** text, size_t* n_bytes);
/* 1 for eos, eot, <|im_end|> and the like, else 0. */
RUNNEL_API int32_t runnel_is_end_of_generation(const runnel_model* model, runnel_token token);

/* ---- Options of a stream ---- */

enum {
  RUNNEL_POLICY_DENSE = 0,    /* everything; memory grows */
  RUNNEL_POLICY_WINDOW = 1,   /* the last W tokens */
  RUNNEL_POLICY_SINK = 2,     /* the first S and the last W tokens */
  RUNNEL_POLICY_RECOMPUTE = 3 /* as sink, afresh for every token: the yardstick, O(W^2) */
};
enum {
  RUNNEL_KV_F32 = 0,
  RUNNEL_KV_F16 = 1,
  RUNNEL_KV_BF16 = 2,
  RUNNEL_KV_Q8_0 = 3,
  RUNNEL_KV_Q4_0 = 4 /* sinks and pins stay in f16 */
};
enum {
  RUNNEL_SOFTMAX_MODEL = -1, /* what the model was trained with */
  RUNNEL_SOFTMAX_STANDARD = 0,
  RUNNEL_SOFTMAX_OFF_BY_ONE = 1
};

typedef struct runnel_sampling {
  size_t size;
  float temperature;        /* 0.8; 0: greedy */
  int32_t top_k;            /* 40; 0: off */
  float top_p;              /* 0.95; 1: off */
  float min_p;              /* 0.05; 0: off */
  float repetition_penalty; /* 1: off */
  float frequency_penalty;  /* 0: off */
  float presence_penalty;   /* 0: off */
  uint64_t seed;            /* 0; the same seed gives the same text on any number of threads */
} runnel_sampling;
RUNNEL_API void runnel_sampling_init(runnel_sampling* sampling, size_t size);

typedef struct runnel_stream_options {
  size_t size;
  int32_t policy;  /* RUNNEL_POLICY_SINK */
  int32_t sinks;   /* 4, kept for ever; at least the pinned text's tokens */
  int64_t window;  /* 0: as large as the trained context allows, at most 2043 */
  int32_t kv_type; /* RUNNEL_KV_F16 */
  int32_t softmax; /* RUNNEL_SOFTMAX_MODEL */
  int32_t chunk;   /* 256: tokens that pass the model together at most */
  int32_t draft;   /* 0: tokens guessed ahead from the stream's own text, at most */
  const char* pin; /* text at the stream's start that is never evicted; NULL: none */
  size_t pin_bytes;
  const runnel_token* pin_tokens; /* the same as tokens; not both */
  size_t n_pin_tokens;
  int64_t start_position;          /* 0 */
  const runnel_sampling* sampling; /* NULL: the defaults */
  /* W by layer: these, again and again, over the layers that keep keys and values; NULL: window for
   * all. */
  const int64_t* layer_windows;
  size_t n_layer_windows;
  int32_t kv_rotate; /* -1: with RUNNEL_KV_Q4_0 only; 0, 1: Hadamard rotation before storing */
} runnel_stream_options;
RUNNEL_API void runnel_stream_options_init(runnel_stream_options* options, size_t size);

/* ---- Streams ---- */

/* Takes the stream's whole memory (dense streams grow later). */
RUNNEL_API runnel_status runnel_stream_open(const runnel_model* model,
                                            const runnel_stream_options* options,
                                            runnel_stream** stream);
/* Bytes of the keys and values of such a stream, most of what it takes. */
RUNNEL_API runnel_status runnel_stream_bytes(const runnel_model* model,
                                             const runnel_stream_options* options,
                                             uint64_t* n_bytes);
RUNNEL_API void runnel_stream_close(runnel_stream* stream);
/* A stream of its own that goes on exactly as this one would. */
RUNNEL_API runnel_status runnel_stream_fork(const runnel_stream* stream, runnel_stream** fork);

/* The tokens that runnel_stream_feed() would ingest now: BOS before a stream's first text, where
 * the model has one. */
RUNNEL_API runnel_status runnel_stream_tokenize(const runnel_stream* stream, const char* text,
                                                size_t n_bytes, runnel_token** tokens,
                                                size_t* n_tokens);
/* Ingests any amount of text or tokens in chunks; the first text begins the stream with BOS when
 * the model has one. `progress` and `n_fed` (tokens) may be NULL. Chunks already ingested stay,
 * also when a later one fails. */
RUNNEL_API runnel_status runnel_stream_feed(runnel_stream* stream, const char* text, size_t n_bytes,
                                            runnel_progress progress, void* user, int64_t* n_fed);
RUNNEL_API runnel_status runnel_stream_feed_tokens(runnel_stream* stream,
                                                   const runnel_token* tokens, size_t n_tokens,
                                                   runnel_progress progress, void* user,
                                                   int64_t* n_fed);
/* The same, and for each token its negative natural log-likelihood given all before it; a fresh
 * stream's first token has none. */
RUNNEL_API runnel_status runnel_stream_score(runnel_stream* stream, const runnel_token* tokens,
                                             size_t n_tokens, runnel_progress progress, void* user,
                                             float** nll, size_t* n_values);

typedef struct runnel_step {
  size_t size;
  runnel_token token;
  int32_t end_of_generation; /* the model says it has finished; a stream may go on all the same */
  const char* text;  /* what became complete: never half a UTF-8 character; until the next call */
  size_t text_bytes; /* without the zero byte behind it */
  float log_probability; /* natural, under the model's own distribution */
} runnel_step;

/* One token: sampled, then fed back. `step` may be NULL. */
RUNNEL_API runnel_status runnel_stream_next(runnel_stream* stream, runnel_step* step);
/* One token for each of several different streams of one model, in one step of the model. Each
 * gets what runnel_stream_next() would give it. steps[0].size is the size of all `n` steps. */
RUNNEL_API runnel_status runnel_stream_next_batch(runnel_stream* const* streams, size_t n,
                                                  runnel_step* steps);
/* The same where some streams read instead, in one step: what feed and next would have done with
 * each. Tokens to read are at most a stream's chunk; without any the stream writes. Works follow
 * each other by works[0].size, steps by steps[0].size; steps of streams that read have no text. */
typedef struct runnel_work {
  size_t size;
  runnel_stream* stream;
  const runnel_token* tokens;
  size_t n_tokens;
} runnel_work;
RUNNEL_API runnel_status runnel_stream_step_batch(const runnel_work* works, size_t n,
                                                  runnel_step* steps);
/* A token of the caller's choice in place of a sampled one. */
RUNNEL_API runnel_status runnel_stream_push(runnel_stream* stream, runnel_token token,
                                            runnel_step* step);
/* Text still waiting for the rest of a UTF-8 character; valid until the stream's next call. */
RUNNEL_API runnel_status runnel_stream_flush_text(runnel_stream* stream, const char** text,
                                                  size_t* n_bytes);

/* Of the next token, [vocabulary]; n is 0 before anything was fed. Valid until the next call. */
RUNNEL_API runnel_status runnel_stream_logits(const runnel_stream* stream, const float** logits,
                                              size_t* n);
/* The likeliest next tokens with their natural log probabilities, likeliest first, into arrays of
 * `capacity`; *n of them. */
RUNNEL_API runnel_status runnel_stream_top_logprobs(const runnel_stream* stream, size_t capacity,
                                                    runnel_token* tokens, float* logprobs,
                                                    size_t* n);
RUNNEL_API runnel_status runnel_stream_set_sampling(runnel_stream* stream,
                                                    const runnel_sampling* sampling);
/* From here on the stream writes (and takes by push) JSON of this schema, to its end and then a
 * token that ends a generation; NULL: anything. "{}" is any JSON. A fork has it too, a saved stream
 * not. Fails where the schema has what is not supported, by name. */
RUNNEL_API runnel_status runnel_stream_set_json_schema(runnel_stream* stream, const char* schema);

/* A form of the caller's own. Every function is given the state; none may call this library with
 * the stream. A fork has a clone of the state, a saved stream none. */
typedef struct runnel_constraint {
  size_t size;
  void* state; /* the stream's once it is set; then free is called with it in the end */
  /* Which tokens may come next: bit (t % 32) of word (t / 32), all zero at first. Those that end a
   * generation are to be among them only where the text is complete. */
  void (*allowed)(void* state, uint32_t* bits, size_t n_words);
  /* The token that came; anything but 0: it was not allowed, and the call fails. */
  int (*accept)(void* state, runnel_token token);
  int (*is_complete)(void* state); /* 1: the text may end here */
  void* (*clone)(void* state);     /* NULL: there is no memory */
  void (*free)(void* state);
} runnel_constraint;
/* From here on the stream keeps to it, in next and push; NULL: anything. */
RUNNEL_API runnel_status runnel_stream_set_constraint(runnel_stream* stream,
                                                      const runnel_constraint* constraint);

typedef struct runnel_stream_info {
  size_t size;
  int64_t position;      /* tokens seen: the position of the next one */
  int64_t evicted;       /* tokens no longer visible */
  int64_t horizon;       /* the oldest position, sinks aside, that the next token will see */
  uint64_t bytes;        /* memory of keys and values */
  int64_t guessed;       /* tokens guessed ahead so far, */
  int64_t guessed_right; /* and those of them that came */
  int32_t policy;        /* the options with every default filled in */
  int32_t sinks;
  int64_t window; /* 0: dense */
  int32_t kv_type;
  int32_t chunk;
  int64_t least_window; /* of the layers; window is the largest */
  int32_t kv_rotate;
} runnel_stream_info;
RUNNEL_API runnel_status runnel_stream_get_info(const runnel_stream* stream,
                                                runnel_stream_info* info);
/* Sinks, then window, in order of position. */
RUNNEL_API runnel_status runnel_stream_visible_tokens(const runnel_stream* stream,
                                                      runnel_token** tokens, size_t* n_tokens);

/* ---- Dialogues ---- */

/* A model's chat template: messages become tokens. What people say never becomes a control token.
 */
typedef struct runnel_chat runnel_chat;

typedef struct runnel_tool_call {
  size_t size;
  const char* id;
  const char* name;
  const char* arguments; /* JSON, an object */
} runnel_tool_call;

/* Of several in a row the first one's size is that of all. NULL is empty. */
typedef struct runnel_message {
  size_t size;
  const char* role; /* "system", "user", "assistant", "tool", or what else the template knows */
  const char* content;
  const char* reasoning;              /* of an assistant, where the template has a place for it */
  const runnel_tool_call* tool_calls; /* of an assistant */
  size_t n_tool_calls;
  const char* tool_call_id; /* of a tool's answer */
  const char* name;         /* of the tool that answers */
} runnel_message;

typedef struct runnel_chat_options {
  size_t size;
  const char* tools;         /* JSON, a list as OpenAI's API has it; NULL: none */
  int32_t generation_prompt; /* 1: what begins the model's answer stands at the end */
  int32_t thinking;          /* -1: as the template has it; 0, 1 */
  const char* variables;     /* JSON, an object: further variables of the template; NULL: none */
} runnel_chat_options;
RUNNEL_API void runnel_chat_options_init(runnel_chat_options* options, size_t size);

/* The model's own template (name NULL); or another one of the file's named templates, or a format
 * by name ("chatml"). */
RUNNEL_API runnel_status runnel_chat_open(const runnel_model* model, const char* name,
                                          runnel_chat** chat);
RUNNEL_API void runnel_chat_close(runnel_chat* chat);
/* Which template it is, and what a user should know about it (empty: nothing); live with it. */
RUNNEL_API const char* runnel_chat_name(const runnel_chat* chat);
RUNNEL_API const char* runnel_chat_warning(const runnel_chat* chat);

/* A whole dialogue, as text to be looked at and as tokens to be fed to a fresh stream. */
RUNNEL_API runnel_status runnel_chat_text(const runnel_chat* chat, const runnel_message* messages,
                                          size_t n, const runnel_chat_options* options, char** text,
                                          size_t* n_bytes);
RUNNEL_API runnel_status runnel_chat_tokens(const runnel_chat* chat, const runnel_message* messages,
                                            size_t n, const runnel_chat_options* options,
                                            runnel_token** tokens, size_t* n_tokens);
/* What a dialogue that begins with these system messages pins: runnel_stream_options.pin_tokens. */
RUNNEL_API runnel_status runnel_chat_opening(const runnel_chat* chat, const runnel_message* before,
                                             size_t n, const runnel_chat_options* options,
                                             runnel_token** tokens, size_t* n_tokens);
/* What `added` adds to a stream that has seen `before`: system messages alone, pinned; or messages
 * that end with an assistant's, which the model wrote (its end is part of the result). */
RUNNEL_API runnel_status runnel_chat_turn(const runnel_chat* chat, const runnel_message* before,
                                          size_t n_before, const runnel_message* added,
                                          size_t n_added, const runnel_chat_options* options,
                                          runnel_token** tokens, size_t* n_tokens);
/* 1 where the model says that its answer is over. */
RUNNEL_API int32_t runnel_chat_is_end(const runnel_chat* chat, runnel_token token);

/* ---- Saving ---- */

/* Everything that decides what comes next, to one file (atomically) or to memory, in one format. */
RUNNEL_API runnel_status runnel_stream_save(const runnel_stream* stream, const char* path);
RUNNEL_API runnel_status runnel_stream_save_memory(const runnel_stream* stream, void** bytes,
                                                   size_t* n_bytes);
/* Goes on with exactly the tokens it would have produced. */
RUNNEL_API runnel_status runnel_stream_resume(const runnel_model* model, const char* path,
                                              runnel_stream** stream);
RUNNEL_API runnel_status runnel_stream_resume_memory(const runnel_model* model, const void* bytes,
                                                     size_t n_bytes, runnel_stream** stream);

/* ---- Study ---- */

/* What the last tokens looked at. All arrays lie in one piece of memory, which
 * runnel_free(attention) gives back. */
typedef struct runnel_attention {
  int32_t layers;
  int32_t heads;
  size_t n_queries;
  size_t n_positions;
  const int64_t* queries;   /* positions of the tokens, ascending */
  const int64_t* positions; /* of the keys, ascending: sinks, window, the tokens */
  const float* weights;     /* [n_queries, layers, heads, n_positions]; 0 where not seen */
} runnel_attention;
/* Of the last `n_last` tokens, which pass the model once more; the stream stays as it is. */
RUNNEL_API runnel_status runnel_stream_attention(const runnel_stream* stream, int32_t n_last,
                                                 runnel_attention** attention);

/* One policy's values over the same tokens, in one piece of memory (runnel_free). */
typedef struct runnel_perplexity {
  int32_t policy;
  int32_t sinks;
  int64_t window; /* 0: dense */
  size_t n;
  const int64_t* positions; /* of the tokens that were measured */
  const float* nll;         /* negative natural log-likelihood of each */
  double mean_nll;          /* perplexity is its exp */
  double seconds;
} runnel_perplexity;
/* Measures one policy with the numbers of `options` (the window policy keeps as many tokens as the
 * sink policy in all). `recompute_tokens`: positions past the cache for RUNNEL_POLICY_RECOMPUTE,
 * evenly spread on a logarithmic scale; 0: all. `progress` is told tokens. */
RUNNEL_API runnel_status runnel_measure_perplexity(const runnel_model* model,
                                                   const runnel_token* tokens, size_t n_tokens,
                                                   const runnel_stream_options* options,
                                                   int64_t recompute_tokens,
                                                   runnel_progress progress, void* user,
                                                   runnel_perplexity** result);

#ifdef __cplusplus
}
#endif

#endif
