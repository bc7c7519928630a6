// Text of one database shown in another.
#pragma once

#include <string_view>

#include "pg/prelude.hpp"

namespace train_perf {

// A text datum in the encoding of this database. What cannot be converted is shown as '?', never
// raised as an error: one statement of another database must not spoil the whole list.
text* TextForReader(std::string_view bytes, int encoding);

}  // namespace train_perf
