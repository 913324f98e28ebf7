// The interpreter of chat templates by itself: limits, messages, and who wrote which byte. That it
// renders as Python's jinja2 does is tests/python/test_jinja.py.
#include <gtest/gtest.h>

#include <string>

#include "jinja/template.h"
#include "runnel/error.h"

namespace runnel::jinja {
namespace {

Text render(std::string_view source, const Variables& variables = {}, const Limits& limits = {}) {
  return Template::parse(source).render(variables, limits);
}

std::string error_of(std::string_view source, const Variables& variables = {}) {
  try {
    render(source, variables);
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing thrown";
}

// "T" and "v" for each byte of the template and of a value.
std::string origins(const Text& text) {
  std::string marks;
  for (std::size_t i = 0; i < text.size(); ++i)
    marks += text.origin(i) == Origin::kTemplate ? 'T' : 'v';
  return marks;
}

Value said(const char* text) { return Value::text(text, Origin::kValue); }

TEST(Jinja, KnowsWhoWroteEachByte) {
  const Variables variables = {{"x", said(" ab,cd ")}};
  const auto of = [&](std::string_view source) { return origins(render(source, variables)); };
  EXPECT_EQ(of("<{{ x }}>"), "TvvvvvvvT");
  EXPECT_EQ(of("{{ '<' + x | trim + '>' }}"), "TvvvvvT");
  EXPECT_EQ(of("{{ ('<' ~ x ~ '>')[1:] | upper }}"), "vvvvvvvT");
  EXPECT_EQ(of("{{ x.strip().split(',') | join('|') }}"), "vvTvv");
  EXPECT_EQ(of("{{ x.replace(' ', '__') }}"), "TTvvvvvTT");
  EXPECT_EQ(of("{{ x | tojson }}"), "vvvvvvvvv");
  EXPECT_EQ(of("{% set y %}a{{ x }}{% endset %}{{ y }}"), "Tvvvvvvv");
  EXPECT_EQ(of("{% macro m(z) %}[{{ z }}]{% endmacro %}{{ m(x) }}"), "TvvvvvvvT");
  EXPECT_EQ(of("{{ '%s!' % x }}"), "vvvvvvvT");
  EXPECT_EQ(of("{{ '{}!'.format(x) }}"), "vvvvvvvT");
}

TEST(Jinja, ErrorsNameTheLine) {
  EXPECT_EQ(error_of("a\nb{{ nothing.at_all }}"), "chat template, line 2: 'nothing' is undefined");
  EXPECT_EQ(error_of("\n\n{{ raise_exception('roles') }}"), "chat template, line 3: roles");
  EXPECT_NE(error_of("\n{% include 'x' %}").find("line 2: statement 'include'"), std::string::npos);
  EXPECT_NE(error_of("{{ x").find("line 1: a tag without its end"), std::string::npos);
  EXPECT_NE(error_of("{% if x %}").find("endif"), std::string::npos);
  EXPECT_NE(error_of("{{ 1 | no_such }}").find("filter 'no_such'"), std::string::npos);
}

TEST(Jinja, HostileTemplatesEndInAnError) {
  std::string deep, sum = "{{ 1", chain = "{{ x";
  for (int i = 0; i < 100'000; ++i) deep += "(";
  for (int i = 0; i < 100'000; ++i) sum += "+1";
  for (int i = 0; i < 100'000; ++i) chain += ".a";
  const std::string tags = [] {
    std::string text;
    for (int i = 0; i < 50'000; ++i) text += "{% if x %}";
    return text;
  }();
  const std::string sources[] = {
      "{{ " + deep,
      sum + " }}",
      chain + " }}",
      tags,
      "{{ '" + std::string(1 << 20, 'a') + "' }}",
      "{{ 'aaaaaaaaaaaaaaaa' * 999999999 }}",
      "{{ [0] * 999999999 }}",
      "{{ 9999999999 ** 9999999999 }}",
      "{{ range(99999999999) }}",
      "{% for i in range(99999) %}{% for j in range(99999) %}{{ j }}{% endfor %}{% endfor %}",
      "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
      "{% set n = namespace(x=[1]) %}{% for i in range(9999) %}{% set n.x = [n.x, n.x] %}{% endfor "
      "%}",
      "{% set n = namespace(x='ab') %}{% for i in range(9999) %}{% set n.x = n.x ~ n.x %}{% endfor "
      "%}",
      "{% set n = namespace() %}{% set n.x = n %}{% for i in range(9999) %}{% set n.x = [n.x] %}"
      "{% endfor %}",
      "{% set n = namespace(x='a') %}{% for i in range(9999) %}{% set n.x = n.x.index %}{% endfor "
      "%}"
      "{{ n.x() }}",
      "{{ 'a' | indent(99999999) | indent(99999999) }}{{ '%999d' % 1 }}{{ 1 // 0 }}",
      "{{ (-9223372036854775807 - 1) // -1 }}",
      "{{ '' .join(['x']) * -1 }}{{ {}[[]] }}{{ {[]: 1} }}",
      "{{ strftime_now('%c' * 999) }}",
  };
  for (const std::string& source : sources) {
    EXPECT_NE(error_of(source), "nothing thrown") << source.substr(0, 80);
  }
}

TEST(Jinja, MacrosThatOutliveTheirLoopStillSeeIt) {
  EXPECT_EQ(
      render("{% set n = namespace() %}{% for i in [1, 2] %}{% macro m() %}{{ i }}{% endmacro %}"
             "{% set n.m = m %}{% endfor %}{% for i in [7, 8] %}{{ n.m() }}{% endfor %}")
          .bytes(),
      "22");
}

TEST(Jinja, ReadsValuesFromJson) {
  const Value value = value_from_json(
      R"({"a": [1, 2.5, true, null, "é"], "b": {"c": "x"}, "b": 3})", Origin::kValue);
  EXPECT_EQ(to_repr(value, 1000), "{'a': [1, 2.5, True, None, 'é'], 'b': 3}");
  EXPECT_THROW(value_from_json("{", Origin::kValue), Error);
  EXPECT_THROW(value_from_json(std::string(100'000, '['), Origin::kValue), Error);
  EXPECT_THROW(value_from_json("[1] 2", Origin::kValue), Error);
}

}  // namespace
}  // namespace runnel::jinja
