// Tags that an application puts into its statements' comments, as sqlcommenter defines them
// (https://google.github.io/sqlcommenter/spec/): key='value',key='value' with both sides
// URL-encoded and quotes in values escaped by a backslash.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace train_perf {

using Tags = std::vector<std::pair<std::string, std::string>>;

// Reads joined comments (see CopyTagComments). Malformed pairs are skipped. A key that comes twice
// keeps its last value. At most 32 tags, in order of first appearance.
Tags ParseTags(std::string_view comments);

// The value of a tag, or an empty view.
std::string_view FindTag(const Tags& tags, std::string_view key) noexcept;

// The endpoint that tags name: `endpoint`, else `route`, else `controller#action` (`controller`
// alone without an action), else `path`. With `method` (or `http_method`) before it, upper-cased
// and separated by a space, if the tags have one. Empty if they name none.
std::string EndpointOf(const Tags& tags);

// The trace id of a W3C traceparent ("00-<32 hex>-<16 hex>-<2 hex>"), lower-cased; empty if it is
// not one or all zeros.
std::string TraceIdOf(std::string_view traceparent);

}  // namespace train_perf
