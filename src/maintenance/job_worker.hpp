// A worker that does one job of maintenance_jobs and ends. It connects as a superuser, for a role
// may not be allowed to log in, and runs the job's statements with the session authorization of the
// role that asked, which nothing that they run can change.
#pragma once

#include "pg/prelude.hpp"

namespace train_perf {

// The worker's main; the place is on the board.
void RunJobWorker(int place, bool (*may_work_in)(Oid database));

}  // namespace train_perf
