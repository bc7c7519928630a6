#include "core/error_text.hpp"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace train_perf {
namespace {

constexpr bool kDataException = true;

std::string Masked(std::string_view message, std::string_view sql, bool data_exception = false) {
  std::string buffer(2 * message.size() + 10, '\0');
  buffer.resize(MaskErrorMessage(message, sql, data_exception, buffer.data(), buffer.size()));
  return buffer;
}

std::string MaskedContext(std::string_view context) {
  std::string buffer(4 * context.size() + 10, '\0');
  buffer.resize(MaskErrorContext(context, buffer.data(), buffer.size()));
  return buffer;
}

TEST(MaskErrorMessage, names_of_missing_things_stay) {
  for (const std::string_view message :
       {"relation \"nope\" does not exist", "column t.nope does not exist",
        "syntax error at or near \"form\"", "division by zero",
        "duplicate key value violates unique constraint \"t_pkey\"",
        "syntax error at or near \")\"", "canceling statement due to statement timeout"}) {
    EXPECT_EQ(Masked(message, "select 'a', 12, 'b c' from nope"), message);
  }
}

TEST(MaskErrorMessage, values_behind_a_colon_are_masked) {
  const std::vector<std::pair<std::string_view, std::string_view>> cases = {
      {"invalid input syntax for type integer: \"abc\"",
       "invalid input syntax for type integer: \"?\""},
      {"invalid input syntax for type json: \"a\"b\" c\"",
       "invalid input syntax for type json: \"?\""},
      {"date/time field value out of range: \"2024-99-99\"",
       "date/time field value out of range: \"?\""},
      {"syntaxe en entr\u00e9e invalide : \u00ab\u00a0abc\u00a0\u00bb",
       "syntaxe en entr\u00e9e invalide : \u00ab?\u00bb"},
      {"ung\u00fcltige Eingabesyntax f\u00fcr Typ integer: \u00bbabc\u00ab",
       "ung\u00fcltige Eingabesyntax f\u00fcr Typ integer: \u00bb?\u00ab"},
      {"cut: \"abc", "cut: \"?"},
  };
  for (const auto& [message, masked] : cases) EXPECT_EQ(Masked(message, "select $1"), masked);
}

TEST(MaskErrorMessage, quoted_pieces_of_the_statement_that_are_values_are_masked) {
  const std::vector<std::pair<std::string_view, std::string_view>> cases = {
      {"syntax error at or near \"'abc'\"", "syntax error at or near \"?\""},
      {"syntax error at or near \"123\"", "syntax error at or near \"?\""},
      {"syntax error at or near \"-1.5\"", "syntax error at or near \"?\""},
      {"trailing junk after numeric literal at or near \"12a\"",
       "trailing junk after numeric literal at or near \"?\""},
      {"unterminated quoted string at or near \"'abc and \"x\" = 'y\"",
       "unterminated quoted string at or near \"?\""},
      {"unterminated quoted identifier at or near \"\"abc where x = 'y'\"",
       "unterminated quoted identifier at or near \"?\""},
      {"syntax error at or near \"E'abc'\"", "syntax error at or near \"?\""},
      {"unterminated dollar-quoted string at or near \"$a$ secret\"",
       "unterminated dollar-quoted string at or near \"?\""},
      {"unterminated /* comment at or near \"/* secret\"",
       "unterminated /* comment at or near \"?\""},
      {"syntax error at or near \"$1\"", "syntax error at or near \"$1\""},
  };
  for (const auto& [message, masked] : cases) EXPECT_EQ(Masked(message, ""), masked);
}

TEST(MaskErrorMessage, literals_of_the_statement_are_masked_as_whole_words) {
  const std::vector<std::array<std::string_view, 3>> cases = {
      {"customer Smith not found", "select f('Smith')", "customer ? not found"},
      {"Smithson and Smith", "select 'Smith'", "Smithson and ?"},
      {"order 4711 is closed", "select f(4711)", "order ? is closed"},
      {"order 47110 is closed", "select f(4711)", "order 47110 is closed"},
      {"it is ab", "select 'ab', 'it'", "it is ab"},
      {"it's late", "select 'it''s late'", "?"},
      {"a\tb now", "select E'a\\tb'", "? now"},
      {"abcdef now", "select 'abc'\n'def'", "? now"},
      {"one two three", "select $$one two$$", "? three"},
      {"user Bob is unknown", "do $x$ begin perform f('Bob'); end $x$", "user ? is unknown"},
      {"x one one x", "select 'one'", "x ? ? x"},
      {"relation \"nope\" does not exist", "select 'nope'::regclass",
       "relation \"?\" does not exist"},
  };
  for (const auto& [message, sql, masked] : cases) EXPECT_EQ(Masked(message, sql), masked) << sql;
}

TEST(MaskErrorMessage, a_data_exception_quotes_only_words_of_the_statement) {
  constexpr std::string_view kSql = "select amount, \"Big\" from t where x = $1";
  const std::vector<std::pair<std::string_view, std::string_view>> cases = {
      {"value \"99999999999\" is out of range for type integer",
       "value \"?\" is out of range for type integer"},
      {"time zone \"Smith\" not recognized", "time zone \"?\" not recognized"},
      {"time zone \"a\"b\" not recognized", "time zone \"?\" not recognized"},
      {"column \"amount\" of \"Big\" is odd", "column \"amount\" of \"Big\" is odd"},
      {"invalid value \"abc\" for \"YYYY\"", "invalid value \"?\" for \"?\""},
      {"Zeitzone \u00bbSmith\u00ab nicht erkannt", "Zeitzone \u00bb?\u00ab nicht erkannt"},
  };
  for (const auto& [message, masked] : cases) {
    EXPECT_EQ(Masked(message, kSql, kDataException), masked);
  }
}

TEST(MaskErrorMessage, output_is_cut_at_the_capacity) {
  std::string buffer(8, '#');
  EXPECT_EQ(MaskErrorMessage("value Smith is wrong", "select 'Smith'", false, buffer.data(), 7),
            7U);
  EXPECT_EQ(buffer, "value ?#");
  EXPECT_EQ(MaskErrorMessage("value", "", false, nullptr, 0), 0U);
}

TEST(MaskErrorMessage, too_much_to_look_for_masks_all) {
  std::string sql = "select 'value'";
  while (sql.size() < 65000) sql += ",'abc'";
  EXPECT_EQ(Masked(std::string(8000, 'a'), sql), "?");
  EXPECT_EQ(Masked("no value here", sql), "no ? here");
}

TEST(MaskErrorContext, each_kind_of_line) {
  const std::vector<std::pair<std::string_view, std::string_view>> cases = {
      {"", ""},
      {"PL/pgSQL function f(integer) line 3 at RAISE",
       "PL/pgSQL function f(integer) line 3 at RAISE"},
      {"SQL statement \"UPDATE t SET a = 'x' WHERE b = 5\"",
       "SQL statement \"update t set a = $1 where b = $2\""},
      {"SQL statement \"select 'a\"\nb', \"Q\"\nfrom t\"\nPL/pgSQL function f() line 3 at SQL "
       "statement",
       "SQL statement \"select $1, \"Q\" from t\"\nPL/pgSQL function f() line 3 at SQL statement"},
      {"SQL statement \"select 5 from \"Q\"\"\nPL/pgSQL function f() line 3 at EXECUTE",
       "SQL statement \"select $1 from \"Q\"\"\nPL/pgSQL function f() line 3 at EXECUTE"},
      {"SQL statement \"select 5 from \"Q\"\"", "SQL statement \"select $1 from \"Q\"\""},
      {"SQL statement \"select 5 -- it's\"\nPL/pgSQL function f() line 3 at EXECUTE",
       "SQL statement \"select $1\"\nPL/pgSQL function f() line 3 at EXECUTE"},
      {"SQL statement \"select 5 -- \"x\"\nfrom t where a = 7\"\nPL/pgSQL function f() line 3",
       "SQL statement \"select $1 from t where a = $2\"\nPL/pgSQL function f() line 3"},
      {"SQL expression \"a > 5\"\nPL/pgSQL function f() line 3 at IF",
       "SQL expression \"a > $1\"\nPL/pgSQL function f() line 3 at IF"},
      {"PL/pgSQL assignment \"x := 'abc'\"", "PL/pgSQL assignment \"x := $1\""},
      {"SQL-Anweisung \u00bbselect 5\u00ab\nPL/pgSQL-Funktion f() Zeile 3",
       "SQL-Anweisung \u00bbselect $1\u00ab\nPL/pgSQL-Funktion f() Zeile 3"},
      {"COPY t, line 1, column a: \"abc\"", "COPY t, line 1, column a: ?"},
      {"COPY t, line 1: \"a\nb\"c\"\nSQL statement \"copy t from 'x'\"",
       "COPY t, line 1: ?\nSQL statement \"copy t from $1\""},
      {"COPY t, line 1", "COPY t, line 1"},
      {"JSON data, line 1: {\"a\": x", "JSON data, line 1: ?"},
      {"unnamed portal with parameters: $1 = 'it''s', $2 = '5'",
       "unnamed portal with parameters: $1 = ?, $2 = ?"},
      {"unnamed portal with parameters: $1 = 'a\nb'\nCOPY t, line 1",
       "unnamed portal with parameters: $1 = ?\nCOPY t, line 1"},
      {"one can't know", "one can't know"},
      {"remote SQL command: SELECT a FROM t WHERE b = 5",
       "remote SQL command: select a from t where b = $1"},
      {"while updating tuple (0,1) in relation \"T\"",
       "while updating tuple (0,1) in relation \"T\""},
  };
  for (const auto& [context, masked] : cases) EXPECT_EQ(MaskedContext(context), masked);
}

TEST(MaskErrorContext, output_is_cut_at_the_capacity) {
  constexpr std::string_view kContext = "SQL statement \"select 5, 6\"\nPL/pgSQL function f()";
  const std::string whole = MaskedContext(kContext);
  for (size_t capacity = 0; capacity <= whole.size(); ++capacity) {
    std::string buffer(capacity + 1, '#');
    EXPECT_EQ(MaskErrorContext(kContext, buffer.data(), capacity), capacity);
    EXPECT_EQ(buffer.substr(0, capacity), whole.substr(0, capacity));
    EXPECT_EQ(buffer.back(), '#');
  }
}

TEST(MaskErrorText, random_text_never_crashes) {
  std::mt19937 random(13);
  const std::vector<std::string> parts = {
      "\"", "'",      "SQL statement \"", "\n",   "COPY ", ": ", "abc",
      "$$", "\u00bb", "\u00ab",           "E'\\", "--",    "/*", "5",
      " ",  "\xc2"};
  const auto text = [&] {
    std::string result;
    for (size_t i = random() % 20; i > 0; --i) result += parts[random() % parts.size()];
    return result;
  };
  for (int i = 0; i < 30000; ++i) {
    Masked(text(), text(), random() % 2 == 0);
    MaskedContext(text());
  }
}

std::string MaskedPlan(std::string json) {
  json.resize(MaskPlan(json.data(), json.size()));
  return json;
}

TEST(MaskPlan, literals_vanish_and_names_and_estimates_stay) {
  EXPECT_EQ(
      MaskedPlan(R"x({"Plan Rows": 12, "Filter": "((a = 'x''y'::text) AND (t1.b2 > 7.5))"})x"),
      R"x({"Plan Rows": 12, "Filter": "((a = ?::text) AND (t1.b2 > ?))"})x");
  EXPECT_EQ(MaskedPlan(R"x({"Filter": "(\"My 1st\" = 'say \"hi\" \\ now'::text)", "Cost": 0.5})x"),
            R"x({"Filter": "(\"My ?\" = ?::text)", "Cost": 0.5})x");
  EXPECT_EQ(MaskedPlan(R"x({"Index Cond": "(id = $1)", "Relation Name": "logs_2026"})x"),
            R"x({"Index Cond": "(id = $1)", "Relation Name": "logs_2026"})x");
}

TEST(MaskPlan, an_unterminated_literal_ends_with_its_string) {
  EXPECT_EQ(MaskedPlan(R"x({"Filter": "(a = 'x", "Rows": 1})x"),
            R"x({"Filter": "(a = ?", "Rows": 1})x");
  EXPECT_EQ(MaskedPlan(R"x({"Filter": "'\)x"), R"x({"Filter": "?)x");
}

}  // namespace
}  // namespace train_perf
