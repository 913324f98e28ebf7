// Attention of a stream, perplexity of a model.
#include "binding.h"
#include "eval/perplexity.h"
#include "eval/statistics.h"

namespace runnel::python {
namespace {

nb::tuple attention(PyStream& self, int n_last) {
  Stream::Attention found;
  {
    const auto lock = self.lock();
    const nb::gil_scoped_release unlocked;
    found = self.use().attention(n_last);
  }
  const std::size_t n_queries = found.queries.size();
  const std::size_t n_keys = found.positions.size();
  return nb::make_tuple(
      array_of(std::move(found.weights), n_queries, found.layers, found.heads, n_keys),
      array_of(std::move(found.queries), n_queries), array_of(std::move(found.positions), n_keys));
}

nb::dict series_of(const eval::NllSeries& series) {
  const eval::Estimate nll = eval::block_estimate(std::span(series.nll));
  const eval::Estimate perplexity = eval::perplexity_of(nll);
  nb::dict found;
  found["policy"] = series.name();
  found["sinks"] = series.options.sinks;
  found["window"] = series.options.window;
  found["tokens"] = series.nll.size();
  found["mean_nll"] = nll.mean;
  found["perplexity"] = perplexity.mean;
  found["error"] = perplexity.error;
  found["seconds"] = series.seconds;
  found["cache_bytes"] = series.cache_bytes;
  found["positions"] = array_of(std::vector(series.positions), series.positions.size());
  found["nll"] = array_of(std::vector(series.nll), series.nll.size());
  return found;
}

nb::list perplexity(const PyModel& model, const std::vector<Token>& tokens,
                    const std::vector<Policy>& policies, const StreamOptions& stream,
                    std::int64_t dense_tokens, std::int64_t recompute_tokens,
                    const nb::object& progress) {
  Reporter report(progress);
  std::optional<eval::PerplexityRun> run;
  {
    const nb::gil_scoped_release unlocked;
    run.emplace(model.model, tokens,
                eval::PerplexityOptions{.policies = policies,
                                        .stream = stream,
                                        .dense_tokens = dense_tokens,
                                        .recompute_tokens = recompute_tokens});
    run->run([&](double) { return report(run->position()); });
  }
  report.finish();
  nb::list found;
  for (const eval::NllSeries& series : run->series()) found.append(series_of(series));
  return found;
}

}  // namespace

void bind_study(nb::module_& m) {
  m.def("attention", &attention);
  m.def("perplexity", &perplexity, nb::arg("model"), nb::arg("tokens"), nb::arg("policies"),
        nb::arg("stream"), nb::arg("dense_tokens"), nb::arg("recompute_tokens"),
        nb::arg("progress") = nb::none());
}

}  // namespace runnel::python
