#include "core/claims.hpp"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace train_perf {
namespace {

constexpr std::string_view kUser = "11111111-2222-3333-4444-55555555aBcD";

TEST(FindSubject, the_sub_claim_is_found_wherever_it_stands) {
  const std::string user(kUser);
  for (const std::string& claims : {
           "{\"sub\":\"" + user + "\"}",
           "{ \"role\" : \"anon\" , \"sub\" : \"" + user + "\" , \"exp\": 17 }",
           "{\"app\":{\"sub\":\"x\"},\"list\":[\"sub\",{\"sub\":1}],\"sub\":\"" + user + "\"}",
           "{\"name\":\"a \\\"sub\\\": b\",\"sub\":\"" + user + "\"}",
           "{\"sub\":\"" + user + "\", and then it was cut",
       }) {
    EXPECT_EQ(FindSubject(claims), kUser) << claims;
  }
}

TEST(FindSubject, what_is_no_sub_of_the_object_itself_is_not_taken) {
  const std::string user(kUser);
  for (const std::string& claims :
       {std::string(), std::string("{}"), std::string("null"), std::string("{\"sub\":null}"),
        std::string("{\"sub\":\"not a uuid\"}"), std::string("{\"sub\""), std::string("{\"sub\":"),
        std::string("{\"sub\":\"1111"), "[\"sub\",\"" + user + "\"]",
        "{\"a\":{\"sub\":\"" + user + "\"}}", "{\"subject\":\"" + user + "\"}",
        "{\"x\":\"sub\",\"y\":\"" + user + "\"}", "\"sub\":\"" + user + "\""}) {
    EXPECT_EQ(FindSubject(claims), "") << claims;
  }
}

TEST(FindSubject, random_text_never_crashes) {
  std::mt19937 random(7);
  const std::string letters = "{}[]\":,\\sub 1-";
  for (int i = 0; i < 20000; ++i) {
    std::string text(random() % 60, ' ');
    for (char& c : text) c = letters[random() % letters.size()];
    EXPECT_EQ(FindSubject(text), "");
  }
}

TEST(IsUuid, only_the_usual_form_is_one) {
  EXPECT_TRUE(IsUuid(kUser));
  EXPECT_FALSE(IsUuid("11111111222233334444555555555555"));
  EXPECT_FALSE(IsUuid("11111111-2222-3333-4444-55555555555g"));
  EXPECT_FALSE(IsUuid("{1111111-2222-3333-4444-555555555555}"));
}

}  // namespace
}  // namespace train_perf
