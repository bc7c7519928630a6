#include "core/md5.hpp"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace train_perf {
namespace {

std::string HexOf(std::string_view text) {
  Md5 md5;
  md5.Update(text);
  return Md5Hex(md5.Finish()).data();
}

TEST(Md5, agrees_with_the_test_suite_of_rfc_1321) {
  const std::vector<std::pair<std::string_view, std::string_view>> suite = {
      {"", "d41d8cd98f00b204e9800998ecf8427e"},
      {"a", "0cc175b9c0f1b6a831c399e269772661"},
      {"abc", "900150983cd24fb0d6963f7d28e17f72"},
      {"message digest", "f96b697d7cb7938d525a2f31aaf161d0"},
      {"abcdefghijklmnopqrstuvwxyz", "c3fcd3d76192e4007dfb496cca67e13b"},
      {"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
       "d174ab98d277d9f5a5611c2c9f419d9f"},
      {"12345678901234567890123456789012345678901234567890123456789012345678901234567890",
       "57edf4a22be3c955ac49da2e2107b67a"}};
  for (const auto& [text, digest] : suite) EXPECT_EQ(HexOf(text), digest) << text;
}

TEST(Md5, a_million_letters_give_the_known_digest) {
  EXPECT_EQ(HexOf(std::string(1000000, 'a')), "7707d6ae4e027c70eea2a935c2296f21");
}

TEST(Md5, the_digest_does_not_depend_on_how_the_text_is_split) {
  std::mt19937 random(1);
  for (size_t size = 0; size < 300; ++size) {
    std::string text(size, '\0');
    for (char& c : text) c = static_cast<char>(random());
    Md5 md5;
    std::string_view rest = text;
    while (!rest.empty()) {
      const size_t part = std::min<size_t>(random() % 100, rest.size());
      md5.Update(rest.substr(0, part));
      rest.remove_prefix(part);
    }
    ASSERT_EQ(Md5Hex(md5.Finish()).data(), HexOf(text)) << size;
  }
}

}  // namespace
}  // namespace train_perf
