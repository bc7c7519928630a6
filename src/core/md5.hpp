// MD5 as a stream (RFC 1321). The server's own needs a resource owner and allocates, so it can be
// used neither in an error handler nor while a backend exits; this one can. Not for security.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace train_perf {

using Md5Digest = std::array<uint8_t, 16>;

class Md5 {
 public:
  void Update(std::string_view bytes) noexcept;
  Md5Digest Finish() noexcept;  // once, at the end

 private:
  void Transform(const uint8_t* block) noexcept;

  std::array<uint32_t, 4> state_{0x67452301u, 0xefcdab89u, 0x98badcfeu, 0x10325476u};
  std::array<uint8_t, 64> buffer_{};
  uint64_t length_ = 0;
};

// 32 lower-case hexadecimal digits and a terminating NUL.
std::array<char, 33> Md5Hex(const Md5Digest& digest) noexcept;

}  // namespace train_perf
