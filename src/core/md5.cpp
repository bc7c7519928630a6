#include "core/md5.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

namespace train_perf {

namespace {

// floor(2^32 * abs(sin(i + 1))), RFC 1321 section 3.4
constexpr std::array<uint32_t, 64> kSines = {
    0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a, 0xa8304613, 0xfd469501,
    0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be, 0x6b901122, 0xfd987193, 0xa679438e, 0x49b40821,
    0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa, 0xd62f105d, 0x02441453, 0xd8a1e681, 0xe7d3fbc8,
    0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed, 0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a,
    0xfffa3942, 0x8771f681, 0x6d9d6122, 0xfde5380c, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70,
    0x289b7ec6, 0xeaa127fa, 0xd4ef3085, 0x04881d05, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665,
    0xf4292244, 0x432aff97, 0xab9423a7, 0xfc93a039, 0x655b59c3, 0x8f0ccc92, 0xffeff47d, 0x85845dd1,
    0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb, 0xeb86d391};

constexpr std::array<std::array<int, 4>, 4> kShifts = {
    {{7, 12, 17, 22}, {5, 9, 14, 20}, {4, 11, 16, 23}, {6, 10, 15, 21}}};

constexpr uint32_t LoadLittleEndian(const uint8_t* bytes) noexcept {
  return bytes[0] | uint32_t{bytes[1]} << 8 | uint32_t{bytes[2]} << 16 | uint32_t{bytes[3]} << 24;
}

template <size_t kRound>
constexpr uint32_t Mix(uint32_t b, uint32_t c, uint32_t d) noexcept {
  if constexpr (kRound == 0) return (b & c) | (~b & d);
  if constexpr (kRound == 1) return (b & d) | (c & ~d);
  if constexpr (kRound == 2) return b ^ c ^ d;
  if constexpr (kRound == 3) return c ^ (b | ~d);
}

// The word of the block that step i of a round uses: RFC 1321's X[k].
template <size_t kRound>
constexpr size_t WordOf(size_t i) noexcept {
  constexpr std::array<size_t, 4> kFactor = {1, 5, 3, 7};
  constexpr std::array<size_t, 4> kOffset = {0, 1, 5, 0};
  return (kFactor[kRound] * i + kOffset[kRound]) % 16;
}

template <size_t kRound>
void Round(std::array<uint32_t, 4>& state, const std::array<uint32_t, 16>& words) noexcept {
  auto [a, b, c, d] = state;
  for (size_t i = 0; i < 16; ++i) {
    const uint32_t sum =
        a + Mix<kRound>(b, c, d) + words[WordOf<kRound>(i)] + kSines[16 * kRound + i];
    a = d;
    d = c;
    c = b;
    b += std::rotl(sum, kShifts[kRound][i % 4]);
  }
  state = {a, b, c, d};
}

}  // namespace

void Md5::Update(std::string_view bytes) noexcept {
  const size_t buffered = length_ % buffer_.size();
  length_ += bytes.size();
  if (buffered > 0) {
    const size_t taken = std::min(bytes.size(), buffer_.size() - buffered);
    std::copy_n(bytes.begin(), taken, buffer_.begin() + buffered);
    bytes.remove_prefix(taken);
    if (buffered + taken < buffer_.size()) return;
    Transform(buffer_.data());
  }
  while (bytes.size() >= buffer_.size()) {
    Transform(reinterpret_cast<const uint8_t*>(bytes.data()));
    bytes.remove_prefix(buffer_.size());
  }
  std::copy(bytes.begin(), bytes.end(), buffer_.begin());
}

Md5Digest Md5::Finish() noexcept {
  const uint64_t bits = length_ * 8;
  // One bit, then zeros up to the last eight bytes of a block, which hold the length.
  constexpr std::array<char, 64> kPadding = {'\x80'};
  const size_t padding = 1 + (119 - length_ % 64) % 64;
  Update({kPadding.data(), padding});

  std::array<char, 8> length{};
  for (size_t i = 0; i < 8; ++i) length[i] = static_cast<char>(bits >> (8 * i) & 0xff);
  Update({length.data(), length.size()});

  Md5Digest digest;
  for (size_t i = 0; i < digest.size(); ++i) {
    digest[i] = static_cast<uint8_t>(state_[i / 4] >> (8 * (i % 4)) & 0xff);
  }
  return digest;
}

void Md5::Transform(const uint8_t* block) noexcept {
  std::array<uint32_t, 16> words;
  for (size_t i = 0; i < words.size(); ++i) words[i] = LoadLittleEndian(block + 4 * i);

  std::array<uint32_t, 4> next = state_;
  Round<0>(next, words);
  Round<1>(next, words);
  Round<2>(next, words);
  Round<3>(next, words);
  for (size_t i = 0; i < next.size(); ++i) state_[i] += next[i];
}

std::array<char, 33> Md5Hex(const Md5Digest& digest) noexcept {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::array<char, 33> hex{};
  for (size_t i = 0; i < digest.size(); ++i) {
    hex[2 * i] = kDigits[digest[i] >> 4];
    hex[2 * i + 1] = kDigits[digest[i] & 0xf];
  }
  return hex;
}

}  // namespace train_perf
