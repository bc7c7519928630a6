// Keeps our workers out of the way of commands on databases, and notices when the extension or a
// database comes or goes.
//
// Before DROP DATABASE, ALTER DATABASE … RENAME / SET TABLESPACE and CREATE DATABASE … TEMPLATE,
// the collector of the database in question is ended and kept away until the transaction is over,
// since the server waits only five seconds for other sessions to leave and does not ask workers to.
#pragma once

namespace train_perf {

void InstallDatabaseGuard();  // from _PG_init while preloading

}  // namespace train_perf
