// The launcher: one worker for the whole server, connected to no database. It looks which databases
// there are, has a collector look into each new one, and gives the collectors turns where the
// databases with the extension are more than train_perf.max_collectors. On a standby it waits.
#pragma once

namespace train_perf {

void RegisterLauncher();  // from _PG_init while preloading
void RunLauncher();       // the worker's main; does not return normally

}  // namespace train_perf
