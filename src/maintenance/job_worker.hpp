// A worker that does one job of maintenance_jobs and ends. It connects as a superuser, for a role
// may not be allowed to log in, and runs the job's statements with the session authorization of the
// role that asked, which nothing that they run can change.
#pragma once

namespace train_perf {

void RunJobWorker(int place);  // the worker's main; the place is on the board

}  // namespace train_perf
