#include "core/sql_text.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace train_perf {
namespace {

using Cases = std::vector<std::pair<std::string_view, std::string_view>>;

std::string Normalized(std::string_view sql) {
  std::string text(4 * sql.size() + 64, '\0');  // (1) becomes ($1, ...)
  const NormalizedSql result = NormalizeSql(sql, text.data(), text.size());
  EXPECT_FALSE(result.truncated);
  text.resize(result.length);
  return text;
}

std::string HashOf(std::string_view sql) {
  return Md5Hex(NormalizeSql(sql, nullptr, 0).hash).data();
}

bool MentionsSecret(std::string_view sql) { return NormalizeSql(sql, nullptr, 0).mentions_secret; }

std::string TagComments(std::string_view sql, size_t capacity = 1000) {
  std::string tags(capacity, '\0');
  tags.resize(CopyTagComments(sql, tags.data(), capacity));
  return tags;
}

void ExpectNormalized(const Cases& cases) {
  for (const auto& [sql, text] : cases) EXPECT_EQ(Normalized(sql), text) << sql;
}

// All must have one text.
void ExpectSame(const std::vector<std::string_view>& statements) {
  for (const auto sql : statements) {
    EXPECT_EQ(Normalized(sql), Normalized(statements.front())) << sql;
    EXPECT_EQ(HashOf(sql), HashOf(statements.front())) << sql;
  }
}

TEST(NormalizeSql, same_statement_with_other_constants_is_one) {
  ExpectSame({"SELECT * FROM users WHERE id = 1 AND name = 'Ann'",
              "select *  from users\n where id =  2.5e10 and name = E'B\\'ob'",
              "select * from users where id = -3 and name = $$C$$ -- a comment"});
}

TEST(NormalizeSql, strings_of_every_kind_are_literals) {
  ExpectNormalized({{"select 'a'", "select $1"},
                    {"select 'it''s', 'b'", "select $1, $2"},
                    {"select ''", "select $1"},
                    {"select '\\', 'b'", "select $1, $2"},
                    {"select E'it\\'s', e'\\\\', 1", "select $1, $2, $3"},
                    {"select E'a''b\\''", "select $1"},
                    {"select B'01', x'1F', N'n'", "select $1, $2, $3"},
                    {"select U&'d\\0061t', u&'x'", "select $1, $2"},
                    {"select U&'d!0061t' UESCAPE '!'", "select $1"},
                    {"select U&'d!0061t' /* c */ uescape\n'!', 1", "select $1, $2"},
                    {"select U&'x' uescape_factor", "select $1 uescape_factor"},
                    {"select date '2024-01-01'", "select date $1"},
                    {"select interval'1 day'", "select interval $1"},
                    {"select $$a'b$$, $tag$ $$ $tags$ $tag$", "select $1, $2"},
                    {"select $\xc3\xa4$x$\xc3\xa4$", "select $1"},
                    {"select note 'a'", "select note $1"}});
}

TEST(NormalizeSql, a_string_goes_on_after_a_newline) {
  ExpectNormalized({{"select 'a'\n'b'", "select $1"},
                    {"select 'a' -- comment's\n  'b', 1", "select $1, $2"},
                    {"select 'a'\r\n\t'b''c'\n'd'", "select $1"},
                    {"select E'a'\n'\\'b', 1", "select $1, $2"},
                    {"select 'a' 'b'", "select $1 $2"},
                    {"select 'a' /* \n */ 'b'", "select $1 $2"},
                    {"select 'a' -\n'b'", "select $1 - $2"},
                    {"select 'a'\n, 'b'", "select $1, $2"}});
}

TEST(NormalizeSql, a_dollar_in_a_name_opens_no_string) {
  ExpectNormalized({{"select a$b$c, 1", "select a$b$c, $1"},
                    {"select a$$b$$c", "select a$$b$$c"},
                    {"select $a b$c$, 1", "select $ a b$c$, $1"},
                    {"select 1 + $1", "select $2 + $1"},
                    {"select $1$$x$$", "select $1 $2"},
                    {"select $", "select $"}});
}

TEST(NormalizeSql, numbers_of_every_form_are_literals) {
  ExpectNormalized(
      {{"select 123, 1.5, .5, 1., 1e10, 1.5E-3, .5e+3", "select $1, $2, $3, $4, $5, $6, $7"},
       {"select 0x1F, 0b101, 0o17, 1_000, 1_000.000_1", "select $1, $2, $3, $4, $5"},
       {"for i in 1..10 loop", "for i in $1..$2 loop"},
       {"select a[1:2], a[b:c], a[:3]", "select a[$1 : $2], a[b : c], a[: $3]"},
       {"select t1.c2, t1 . c2", "select t1.c2, t1.c2"},
       {"select 123abc, 1e, 1.x", "select $1, $2, $3"},
       {"select 1e+x", "select $1 + x"},
       {"select 1.2.3", "select $1 $2"},
       {"select 5::int, '5'::varchar(10)", "select $1::int, $2::varchar($3)"}});
}

TEST(NormalizeSql, a_sign_is_part_of_the_number_only_where_it_is_no_operator) {
  ExpectNormalized({{"select -1, +1, - 1", "select $1, $2, $3"},
                    {"select a-1, a -1, a - 1", "select a - $1, a - $2, a - $3"},
                    {"select (-1), (a)-1, a[1]-1", "select ($1), (a) - $2, a[$3] - $4"},
                    {"where a=-1 and b <> -1 and c<-1", "where a = $1 and b <> $2 and c < $3"},
                    {"select a * -1, a*-1, a||-1", "select a * $1, a * $2, a ||- $3"},
                    {"select 1 -1, 'a' -1, $1 -1", "select $2 - $3, $4 - $5, $1 - $6"},
                    {"select \"a\"-1, null -1", "select \"a\" - $1, null - $2"},
                    {"between -1 and -2 or not -3", "between $1 and $2 or not $3"},
                    {"when -1 then -2 else -3 end -4", "when $1 then $2 else $3 end - $4"},
                    {"limit -1 offset -1", "limit $1 offset $2"},
                    {"set x = -1, y := -2", "set x = $1, y := $2"},
                    {"return -1; -1", "return $1; $2"},
                    {"a[-2:-1]", "a[$1 : $2]"},
                    {"- - 1", "- $1"},
                    {"select -a, -(1), -'1'", "select - a, - ($1), - $2"},
                    {"select - -- c\n 1", "select $1"}});
}

TEST(NormalizeSql, comments_vanish) {
  ExpectNormalized({{"select/*c*/1", "select $1"},
                    {"select /* a /* nested */ 'b */ 1", "select $1"},
                    {"/* head */ select 1 -- tail", "select $1"},
                    {"select 1 -- it's\n, 2", "select $1, $2"},
                    {"select a+--c\nb", "select a + b"},
                    {"select a*/*c*/b", "select a * b"},
                    {"select a @-- c\n b", "select a @ b"},
                    {"select '/* no comment */', '-- none'", "select $1, $2"},
                    {"select \"/* name */\"", "select \"/* name */\""},
                    {"select 1 /* open /* nested */", "select $1"},
                    {"/**/", ""},
                    {"-- only", ""}});
}

TEST(NormalizeSql, white_space_is_one_space) {
  ExpectNormalized({{"  select\t\n1\v\f\r ", "select $1"},
                    {"select f ( a , b ) ;", "select f(a, b)"},
                    {"select a,b", "select a, b"},
                    {"", ""},
                    {" \n", ""}});
}

TEST(NormalizeSql, semicolons_at_the_end_vanish) {
  ExpectNormalized({{"select 1;", "select $1"},
                    {"select 1 ; ; -- end", "select $1"},
                    {"select 1 ; select 2;", "select $1; select $2"},
                    {"select 1;;select 2", "select $1;; select $2"},
                    {"; select 1", "; select $1"},
                    {";", ""}});
}

TEST(NormalizeSql, unquoted_words_are_folded_and_quoted_names_are_kept) {
  ExpectNormalized(
      {{"SELECT Id, \"Id\", \"a\"\"B\" FROM T", "select id, \"Id\", \"a\"\"B\" from t"},
       {"SELECT U&\"D\\0061T\"", "select U&\"D\\0061T\""},
       {"SELECT \xc3\x84pfel", "select \xc3\x84pfel"},
       {"SELECT TRUE, False, NULL", "select true, false, null"},
       {"select \"open", "select \"open"}});
}

TEST(NormalizeSql, literals_are_numbered_on_from_the_parameters) {
  ExpectNormalized(
      {{"select $1, 5, $3, 'a'", "select $1, $4, $3, $5"},
       {"select 5, $2", "select $3, $2"},
       {"select '$9', 5", "select $1, $2"},
       {"select '$9', $1 /* $7 */", "select $2, $1"},
       {"select 5, $99999999999999999999", "select $2147483648, $99999999999999999999"},
       {"select $1::int, $2.x", "select $1::int, $2.x"}});
}

TEST(NormalizeSql, lists_of_any_length_are_one) {
  ExpectSame({"select 1 from t where a in (1)", "select 1 from t where a in (1, 2,3)",
              "select 1 from t where a in ( 'x', 'y' )", "select 1 from t where a IN (-1, + 2)",
              "select 1 from t where a in ('x'::text, 'y'::varchar(10), null)",
              "select 1 from t where a in (date '2024-01-01', '2024-01-02'::date)",
              "select 1 from t where a in ($1, $2, $3)",
              "select 1 from t where a in (true, /* c */ 2::numeric(10,2)[])"});
  ExpectNormalized(
      {{"a in (1, 2) and b = 3", "a in ($1, ...) and b = $2"},
       {"a not in(1,2)", "a not in ($1, ...)"},
       {"select array[1,2,3], array['a']", "select array[$1, ...], array[$2, ...]"},
       {"select array[1,2]::int[] -1", "select array[$1, ...]::int[] - $2"},
       {"a in ('x'::timestamp(3) with time zone, 'y'::public.\"T\")", "a in ($1, ...)"},
       {"(a, b) in ((1, 2), (3, 4))", "(a, b) in (($1, $2))"}});
}

TEST(NormalizeSql, what_follows_a_list_does_not_depend_on_its_length) {
  ExpectSame({"select * from t where a in ($1, $2) and b = $3 limit 10",
              "select * from t where a in ($1, $2, $3, $4) and b = $5 limit 20",
              "select * from t where a in (1) and b = 2 limit 30"});
}

TEST(NormalizeSql, inserts_of_any_number_of_rows_are_one) {
  ExpectSame({"insert into t values (1, 'a')", "insert into t values (1, 'a'), (2, 'b')",
              "insert into t values ($1, $2), ($3, $4),($5, $6)",
              "insert into t values (null, default)"});
  ExpectNormalized({{"insert into t values (1, 2), (3, 4)", "insert into t values ($1, $2)"},
                    {"insert into t values (1, 2, 3)", "insert into t values ($1, $2, $3)"},
                    {"values (1), (2) order by 1", "values ($1) order by $2"},
                    {"insert into t values (-1, now()), (2, now())",
                     "insert into t values ($1, now()), ($2, now())"}});
}

TEST(NormalizeSql, lists_with_expressions_stay) {
  ExpectNormalized({{"a in (1, b)", "a in ($1, b)"},
                    {"a in (1 + 2, 3)", "a in ($1 + $2, $3)"},
                    {"a in (select 1)", "a in (select $1)"},
                    {"a in (1, 2", "a in ($1, $2"},
                    {"a in (f(1, 2), 3)", "a in (f($1, $2), $3)"},
                    {"a in (1, (2))", "a in ($1, ($2))"},
                    {"a in (1::int and b)", "a in ($1::int and b)"},
                    {"select f(1, 2), (1, 2)", "select f($1, $2), ($3, $4)"},
                    {"select array[]", "select array[]"},
                    {"select array[[1,2],[3,4]]", "select array[[$1, $2], [$3, $4]]"},
                    {"a in (1, b) and c in (1, 2)", "a in ($1, b) and c in ($2, ...)"}});
}

TEST(NormalizeSql, the_body_of_a_do_statement_is_code) {
  ExpectNormalized(
      {{"DO $$BEGIN PERFORM f('a'); END$$", "do $$ begin perform f($1); end $$"},
       {"do $x$ begin x := 5; end; $x$ language plpgsql;",
        "do $x$ begin x := $1; end; $x$ language plpgsql"},
       {"do language 'plpgsql' $$ begin return; end $$", "do language $1 $$ begin return; end $$"},
       {"select 1; do $$ x 1 $$", "select $1; do $$ x $2 $$"},
       {"do $$ perform $q$ inner $q$ $$", "do $$ perform $1 $$"},
       {"do $a$ do $b$ x $b$ $a$", "do $a$ do $1 $a$"},
       {"do $$$$", "do $$ $$"},
       {"do $$ begin 'a", "do $$ begin $1"},
       {"do $$ x in (1,2) $$", "do $$ x in ($1, ...) $$"}});
}

TEST(NormalizeSql, other_quoted_bodies_are_literals) {
  ExpectNormalized({{"do $$ x = 1 $$ language plpython3u", "do $1 language plpython3u"},
                    {"do language plperl $$ $x = 1 $$", "do language plperl $1"},
                    {"do 'begin end'", "do $1"},
                    {"create function f() returns int as $$ select 1 $$ language sql",
                     "create function f() returns int as $1 language sql"},
                    {"insert into t values (1) on conflict do nothing",
                     "insert into t values ($1) on conflict do nothing"},
                    {"select do $$ x $$", "select do $1"}});
}

TEST(NormalizeSql, operators_are_cut_as_the_server_cuts_them) {
  ExpectNormalized({{"select a<-1, a@-1", "select a < $1, a @- $2"},
                    {"select a->>'k', a#>'{}', a ? 'b'", "select a ->> $1, a #> $2, a ? $3"},
                    {"select a <@ b, a||'x'", "select a <@ b, a || $1"},
                    {"select a::int::text, f(x => 1)", "select a::int::text, f(x => $1)"},
                    {"select +-+-1", "select + - + $1"},
                    {"select \\ { } \x01", "select \\ { } \x01"}});
}

TEST(NormalizeSql, neighbours_of_literals_do_not_grow_together) {
  ExpectNormalized({{"select'a'from t", "select $1 from t"},
                    {"select 'a'$1", "select $2 $1"},
                    {"$'a'", "$ $1"},
                    {"select 1'a'", "select $1 $2"}});
}

TEST(NormalizeSql, the_buffer_gets_what_fits_and_the_hash_all) {
  const std::string sql = "select 'a', \"Some Name\", b from t where c in (1, 2) and d = 'x'";
  const std::string text = Normalized(sql);
  const std::string hash = HashOf(sql);
  Md5 md5;
  md5.Update(text);
  EXPECT_EQ(hash, Md5Hex(md5.Finish()).data());

  for (size_t capacity = 0; capacity <= text.size() + 2; ++capacity) {
    std::string buffer(capacity + 1, '#');
    const NormalizedSql result = NormalizeSql(sql, buffer.data(), capacity);
    EXPECT_EQ(result.length, std::min(capacity, text.size()));
    EXPECT_EQ(result.truncated, capacity < text.size());
    EXPECT_EQ(buffer.substr(0, result.length), text.substr(0, capacity));
    EXPECT_EQ(buffer[capacity], '#');
    EXPECT_EQ(Md5Hex(result.hash).data(), hash);
  }
}

TEST(NormalizeSql, statements_that_name_secrets_are_recognised) {
  for (const std::string_view sql : {"alter user bob password 'x'",
                                     "select PASSWORD_HASH from users",
                                     "select \"userPassword\" from t",
                                     "select crypt('a', gen_salt('bf'))",
                                     "select pgp_sym_encrypt('a', 'b')",
                                     "select decrypt(a, b, 'aes')",
                                     "select hmac('a', 'b')",
                                     "select dblink_connect('host=x')",
                                     "update t set api_key = 'x'",
                                     "select ApiKey from t",
                                     "select client_secret from t",
                                     "select credentials from t",
                                     "select passwd, passphrase",
                                     "select access_token",
                                     "select refresh_token",
                                     "select oauth_token",
                                     "select private_key from t",
                                     "select pgp_pub_key_id('x')",
                                     "do $$ begin alter user bob password 'x'; end $$",
                                     "a in ('x'::secret_type)"}) {
    EXPECT_TRUE(MentionsSecret(sql)) << sql;
  }
  for (const std::string_view sql :
       {"select token_count from t", "select 'password'", "select 1 -- password",
        "select pass, word, secre, pgp from t", "select $$ secret $$", ""}) {
    EXPECT_FALSE(MentionsSecret(sql)) << sql;
  }
}

TEST(CopyTagComments, comments_in_sqlcommenter_form_are_joined) {
  const Cases cases = {{"select 1 /*a='1',b='2'*/", "a='1',b='2'"},
                       {"/* a='1' */ select 1 /* b = '2' , c='3' */", "a='1',b = '2' , c='3'"},
                       {"select 1 -- a='1'\n/*b='it\\'s'*/", "a='1',b='it\\'s'"},
                       {"select 1 /* words */ /*+ hint(a) */ /*a*/ /*a=1*/ /*a='1*/ /*='1'*/", ""},
                       {"select '/*a=''1''*/', \"/*a='1'*/\"", ""},
                       {"select 1 /*a='1'", "a='1'"},
                       {"select 1", ""}};
  for (const auto& [sql, tags] : cases) EXPECT_EQ(TagComments(sql), tags) << sql;
}

TEST(CopyTagComments, only_whole_comments_are_copied) {
  constexpr std::string_view kSql = "/*a='1'*/ select 1 /*b='22'*/ /*c='3'*/";
  const std::vector<std::pair<size_t, std::string_view>> cases = {{0, ""},
                                                                  {4, ""},
                                                                  {5, "a='1'"},
                                                                  {11, "a='1',c='3'"},
                                                                  {12, "a='1',b='22'"},
                                                                  {17, "a='1',b='22'"},
                                                                  {18, "a='1',b='22',c='3'"}};
  for (const auto& [capacity, tags] : cases) EXPECT_EQ(TagComments(kSql, capacity), tags);
}

// Random statements. Each literal holds the marker zq or the digits 77, which nothing else does.
class RandomSql {
 public:
  explicit RandomSql(unsigned seed) : random_(seed) {}

  std::string Statement(size_t parts) {
    std::string sql = Pick(starts_);
    for (size_t i = 0; i < parts; ++i) {
      sql += Pick(spaces_);
      sql += Part();
    }
    return sql;
  }

  std::string Soup(size_t size) {
    constexpr std::string_view kBytes =
        "'\"$$$-/*/*\n .:;,()[]+-@<=1e0xEUu&aB_\\\xc3\xa9 in array values do language plpgsql::";
    std::string sql(size, '\0');
    for (char& c : sql) c = kBytes[random_() % kBytes.size()];
    return sql;
  }

  std::string Bytes(size_t size) {
    std::string sql(size, '\0');
    for (char& c : sql) c = static_cast<char>(random_());
    return sql;
  }

  size_t Below(size_t limit) { return random_() % limit; }

 private:
  std::string Pick(const std::vector<std::string>& from) { return from[random_() % from.size()]; }

  std::string Part() {
    switch (random_() % 4) {
      case 0:
        return Pick(literals_);
      case 1:
        return Pick(openers_) + Pick(literals_) + Pick(separators_) + Pick(literals_) +
               Pick(separators_) + Pick(literals_) + Pick(closers_);
      default:
        return Pick(words_);
    }
  }

  std::mt19937 random_;
  const std::vector<std::string> starts_ = {"select", "", "do", "do $x$ begin", "values", ";"};
  const std::vector<std::string> spaces_ = {" ", " ", " ", "\n", " -- c\n", "/* 'c */", "\t"};
  const std::vector<std::string> words_ = {
      "a",    "In",     "(",       ")",       ",",       ";",    "array",    "[",
      "]",    "values", "\"Q q\"", "u&\"x\"", "-",       "+",    "*",        "=",
      "@-",   "||",     "::",      ":=",      "..",      "...",  ".",        "$1",
      "$2",   "do",     "not",     "between", "null",    "true", "language", "plpgsql",
      "date", "int[]",  "a$b",     "uescape", "DEFAULT", "$",    "{",        "e"};
  const std::vector<std::string> literals_ = {"'zq'",
                                              "'z''zq'",
                                              "E'\\'zq'",
                                              "$$'zq'$$",
                                              "$t$'zq'$$$t$",
                                              "x'zq'",
                                              "U&'zq'",
                                              "77",
                                              "-77",
                                              "+ 77",
                                              "7.77e7",
                                              "0x77",
                                              ".77",
                                              "177_77",
                                              "77zq",
                                              "'zq'\n 'zq'",
                                              "U&'zq' uescape '!'",
                                              "n'zq'",
                                              "date 'zq'",
                                              "'zq'::text",
                                              "'zq'::numeric(77,77)",
                                              "b'77'"};
  const std::vector<std::string> openers_ = {"in (", "array[", "values (", "f(",
                                             "(",    "in ((",  "IN/**/(",  "values(77), ("};
  const std::vector<std::string> separators_ = {",", ", ", ",", " , ", "),(", "+", " "};
  const std::vector<std::string> closers_ = {")", "]", ")", "))", " )", ""};
};

TEST(NormalizeSql, no_literal_survives_in_random_statements) {
  RandomSql random(10);
  for (int i = 0; i < 30000; ++i) {
    const std::string sql = random.Statement(random.Below(15));
    const std::string text = Normalized(sql);
    ASSERT_EQ(text.find("zq"), std::string::npos) << sql << "\n" << text;
    ASSERT_EQ(text.find("77"), std::string::npos) << sql << "\n" << text;
  }
}

TEST(NormalizeSql, a_normalised_text_is_its_own_normal_form) {
  RandomSql random(11);
  for (int i = 0; i < 60000; ++i) {
    const std::string sql =
        i % 2 == 0 ? random.Statement(random.Below(15)) : random.Soup(random.Below(60));
    const std::string text = Normalized(sql);
    ASSERT_EQ(Normalized(text), text) << sql;
  }
}

TEST(NormalizeSql, random_bytes_never_crash) {
  RandomSql random(12);
  for (int i = 0; i < 30000; ++i) {
    const std::string sql = random.Bytes(random.Below(100));
    const std::string text = Normalized(sql);
    ASSERT_EQ(Normalized(text), text);
    TagComments(sql);
  }
}

TEST(NormalizeSql, no_text_takes_more_than_linear_time) {
  constexpr size_t kSize = 500'000;
  for (const std::string_view part : {"(",
                                      "in (1, ",
                                      "in ((1), (",
                                      "values (1), (",
                                      "array[1, ",
                                      "+-",
                                      "-",
                                      "'",
                                      "''",
                                      "'a'\n",
                                      "$a",
                                      "$a$ ",
                                      "/*",
                                      "/* */",
                                      "--\n",
                                      "\"",
                                      "U&'' uescape ",
                                      "do language x ",
                                      "do ",
                                      "in (1::a",
                                      "1::in(",
                                      "in (a.b",
                                      ";",
                                      "do $$x$$;",
                                      "date 1 in (",
                                      "1.",
                                      "0x"}) {
    std::string sql;
    while (sql.size() < kSize) sql += part;
    const auto start = std::chrono::steady_clock::now();
    NormalizeSql(sql, nullptr, 0);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    // Some tenths of a second with sanitizers; a quadratic time would be hours.
    EXPECT_LT(seconds.count(), 20) << part;
  }
}

TEST(NormalizeSql, a_password_without_quotes_is_masked_all_the_same) {
  for (const char* password : {"p4ssw0rd", "hunter-two!", "hunter.two", "correct horse battery",
                               "$ecret9", "= hunter9", "\"p4ss\" valid", "1234"}) {
    EXPECT_EQ(Normalized(std::string("ALTER ROLE carol PASSWORD ") + password),
              "alter role carol password $1");
  }
  EXPECT_EQ(Normalized("create user \"C\" login identified by hunter; select 2"),
            "create user \"C\" login identified $1; select $2");
  EXPECT_EQ(Normalized("create user c encrypted password 'x' valid until 'y'"),
            "create user c encrypted password $1 valid until $2");
  EXPECT_EQ(Normalized("alter role carol password null login"),
            "alter role carol password null login");
  EXPECT_EQ(Normalized("alter table t add password text"), "alter table t add password text");
  EXPECT_EQ(Normalized("alter role a; select password from t"),
            "alter role a; select password from t");
}

TEST(NormalizeSql, space_is_the_same_whatever_the_author_left) {
  EXPECT_EQ(Normalized("select a,b from t where a=1 and b in(2)"),
            Normalized("SELECT a , b FROM t WHERE a = 1 AND b IN ( 2 )"));
  EXPECT_EQ(Normalized("select f (x)::int , t . *"), "select f(x)::int, t.*");
}

TEST(MentionsSecret, literals_count_too) {
  EXPECT_TRUE(train_perf::MentionsSecret("select set_config('app.Password', 'x')"));
  EXPECT_FALSE(train_perf::MentionsSecret("select token_count from t"));
}

TEST(StatementAt, the_statement_at_an_offset_is_found) {
  const std::string_view sql = "/*a='1'*/ select 1; ;select ';' ; -- end\n";
  EXPECT_EQ(StatementAt(sql, 0), "/*a='1'*/ select 1");
  EXPECT_EQ(StatementAt(sql, 18), "/*a='1'*/ select 1");
  EXPECT_EQ(StatementAt(sql, 19), "select ';' ");
  EXPECT_EQ(StatementAt(sql, 28), "select ';' ");
  EXPECT_EQ(StatementAt(sql, 33), "");
  EXPECT_EQ(StatementAt("", 0), "");
  EXPECT_EQ(StatementAt(" ; ", 0), "");
}

}  // namespace
}  // namespace train_perf
