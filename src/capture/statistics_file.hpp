// Statistics and queued events across a clean restart, in pg_stat/train_perf.stat. A crash leaves
// no file and counting starts anew, as with the server's own statistics.
#pragma once

namespace train_perf {

// Both run in the postmaster, when nobody else uses the shared memory. Failures are logged and
// leave fresh statistics. Loading removes the file, so that a crash cannot bring old numbers back.
void SaveStatistics();
void LoadStatistics();

}  // namespace train_perf
