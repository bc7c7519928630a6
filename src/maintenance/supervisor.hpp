// The launcher's watch over running jobs. One lock_timeout cannot serve two waits of one statement:
// that for a lock on a table, which must be short, since others queue behind it, and that for the
// end of old transactions, which may be long. And a job makes way for whoever waits for it.
#pragma once

namespace train_perf {

// Cancels what waits too long, or holds up others, and notes what each job waits for. Returns
// whether any job is at work, so that the next look should come soon.
bool SuperviseJobs();

}  // namespace train_perf
