#include "core/tags.hpp"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace train_perf {
namespace {

TEST(ParseTags, the_example_of_the_specification_is_read) {
  const Tags tags = ParseTags(
      "action='%2Fparam*d',controller='index',framework='spring',"
      "traceparent='00-5bd66ef5095369c7b0d1f8f4bd33716a-c532cb4098ac3dd2-01',"
      "tracestate='congo%3Dt61rcWkgMzE%2Crojo%3D00f067aa0ba902b7'");
  const Tags expected = {{"action", "/param*d"},
                         {"controller", "index"},
                         {"framework", "spring"},
                         {"traceparent", "00-5bd66ef5095369c7b0d1f8f4bd33716a-c532cb4098ac3dd2-01"},
                         {"tracestate", "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7"}};
  EXPECT_EQ(tags, expected);
}

TEST(ParseTags, each_form_of_a_pair) {
  const std::vector<std::pair<std::string_view, Tags>> cases = {
      {"", {}},
      {"a='1'", {{"a", "1"}}},
      {" a = '1' , b = '2' ", {{"a", "1"}, {"b", "2"}}},
      {"a=''", {{"a", ""}}},
      {"a='it\\'s, really'", {{"a", "it's, really"}}},
      {"a%3Db='c%20d'", {{"a=b", "c d"}}},
      {"a='100%',b='%zz'", {{"a", "100%"}, {"b", "%zz"}}},
      {"a='1+1'", {{"a", "1+1"}}},
      {"a='1',b='2',a='3'", {{"a", "3"}, {"b", "2"}}},
      {"a='b=c'", {{"a", "b=c"}}},
  };
  for (const auto& [comments, tags] : cases) EXPECT_EQ(ParseTags(comments), tags) << comments;
}

TEST(ParseTags, malformed_pairs_are_skipped_and_the_others_kept) {
  const Tags good = {{"a", "1"}};
  for (const std::string_view comments :
       {"nonsense,a='1'", "b=2,a='1'", "a='1',b", "a='1',='2'", "a='1',b='2", "a='1',,,",
        "b='2'x,a='1'", "a='1',b='%00'"}) {
    EXPECT_EQ(ParseTags(comments), good) << comments;
  }
}

TEST(ParseTags, a_quote_too_many_swallows_what_follows) {
  EXPECT_TRUE(ParseTags("b='2'3',c,a='1'").empty());
}

TEST(ParseTags, no_more_than_32_tags_are_kept) {
  std::string comments;
  for (int i = 0; i < 100; ++i) comments.append("k").append(std::to_string(i)).append("='v',");
  comments += "k0='last'";
  const Tags tags = ParseTags(comments);
  ASSERT_EQ(tags.size(), 32U);
  EXPECT_EQ(FindTag(tags, "k0"), "last");
  EXPECT_EQ(tags.back().first, "k31");
}

TEST(ParseTags, random_text_never_crashes) {
  std::mt19937 random(9);
  constexpr std::string_view kBytes = "a='b',\\%0f \n";
  for (int i = 0; i < 50000; ++i) {
    std::string comments(random() % 40, '\0');
    for (char& c : comments) c = kBytes[random() % kBytes.size()];
    EXPECT_LE(ParseTags(comments).size(), 32U);
  }
}

TEST(FindTag, a_missing_tag_is_empty) {
  EXPECT_EQ(FindTag({{"a", "1"}}, "a"), "1");
  EXPECT_EQ(FindTag({{"a", "1"}}, "b"), "");
}

TEST(EndpointOf, the_most_telling_tag_wins) {
  const std::vector<std::pair<std::string_view, std::string_view>> cases = {
      {"endpoint='e',route='r',controller='c',path='p'", "e"},
      {"route='%2Fusers%2F:id',controller='c',path='p'", "/users/:id"},
      {"controller='users',action='show',path='p'", "users#show"},
      {"controller='users'", "users"},
      {"path='%2Fx'", "/x"},
      {"path='%2Fx',method='get'", "GET /x"},
      {"route='%2Fx',http_method='Post'", "POST /x"},
      {"route='%2Fx',method='get',http_method='post'", "GET /x"},
      {"method='get'", ""},
      {"action='show'", ""},
      {"", ""},
  };
  for (const auto& [comments, endpoint] : cases) {
    EXPECT_EQ(EndpointOf(ParseTags(comments)), endpoint) << comments;
  }
}

TEST(TraceIdOf, only_a_whole_traceparent_has_a_trace_id) {
  const std::vector<std::pair<std::string_view, std::string_view>> cases = {
      {"00-5bd66ef5095369c7b0d1f8f4bd33716a-c532cb4098ac3dd2-01",
       "5bd66ef5095369c7b0d1f8f4bd33716a"},
      {"00-5BD66EF5095369C7B0D1F8F4BD33716A-C532CB4098AC3DD2-01",
       "5bd66ef5095369c7b0d1f8f4bd33716a"},
      {"00-00000000000000000000000000000000-c532cb4098ac3dd2-01", ""},
      {"01-5bd66ef5095369c7b0d1f8f4bd33716a-c532cb4098ac3dd2-01", ""},
      {"00-5bd66ef5095369c7b0d1f8f4bd33716g-c532cb4098ac3dd2-01", ""},
      {"00-5bd66ef5095369c7b0d1f8f4bd33716a-c532cb4098ac3dd2-0", ""},
      {"00-5bd66ef5095369c7b0d1f8f4bd33716a-c532cb4098ac3dd2-01-", ""},
      {"00_5bd66ef5095369c7b0d1f8f4bd33716a_c532cb4098ac3dd2_01", ""},
      {"", ""},
  };
  for (const auto& [traceparent, trace_id] : cases) {
    EXPECT_EQ(TraceIdOf(traceparent), trace_id) << traceparent;
  }
}

}  // namespace
}  // namespace train_perf
