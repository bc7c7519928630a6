// Every difference between server versions, and nowhere else. Included by pg/prelude.hpp only.
#pragma once

extern "C" {
#include "common/relpath.h"
#include "pgstat.h"
#include "storage/lock.h"
#include "tcop/dest.h"
#include "utils/guc_tables.h"
#include "utils/pgstat_internal.h"
#include "utils/wait_event.h"
#if PG_VERSION_NUM >= 160000
#include "nodes/queryjumble.h"
#else
#include "utils/queryjumble.h"
#endif
#if PG_VERSION_NUM >= 180000
#include "commands/explain_format.h"
#include "commands/explain_state.h"
#endif
}

// PostgreSQL 15 leaves PGDLLEXPORT empty on Unix; with -fvisibility=hidden nothing would be
// visible.
#undef PGDLLEXPORT
#define PGDLLEXPORT __attribute__((visibility("default")))

// ExecutorRun lost its execute_once argument in 18.
#if PG_VERSION_NUM >= 180000
#define TRAIN_PERF_RUN_PARAMS QueryDesc *query_desc, ScanDirection direction, uint64 count
#define TRAIN_PERF_RUN_ARGS query_desc, direction, count
#else
#define TRAIN_PERF_RUN_PARAMS \
  QueryDesc *query_desc, ScanDirection direction, uint64 count, bool execute_once
#define TRAIN_PERF_RUN_ARGS query_desc, direction, count, execute_once
#endif

#define TRAIN_PERF_VERSION "0.4"
#if PG_VERSION_NUM >= 180000
#define TRAIN_PERF_MODULE_MAGIC \
  PG_MODULE_MAGIC_EXT(.name = "train_perf", .version = TRAIN_PERF_VERSION)
#else
#define TRAIN_PERF_MODULE_MAGIC PG_MODULE_MAGIC
#endif

// A setting since 17; for lists of settings and their values, and of what may end a statement.
#if PG_VERSION_NUM >= 170000
#define TRAIN_PERF_TRANSACTION_TIMEOUT {"transaction_timeout", "0"},
#define TRAIN_PERF_CALLERS_TIMEOUTS \
  { STATEMENT_TIMEOUT, TRANSACTION_TIMEOUT }
#else
#define TRAIN_PERF_TRANSACTION_TIMEOUT
#define TRAIN_PERF_CALLERS_TIMEOUTS \
  { STATEMENT_TIMEOUT }
#endif

namespace train_perf {

// The class of waits for the last pin on a page.
#if PG_VERSION_NUM >= 170000
inline constexpr uint32 kWaitBufferPin = PG_WAIT_BUFFERPIN;
#else
inline constexpr uint32 kWaitBufferPin = PG_WAIT_BUFFER_PIN;
#endif

// Runs a portal as a top-level statement, to its end and once. PortalRun lost an argument in 18.
inline void RunPortal(Portal portal, QueryCompletion* completion) {
#if PG_VERSION_NUM >= 180000
  PortalRun(portal, FETCH_ALL, true, None_Receiver, None_Receiver, completion);
#else
  PortalRun(portal, FETCH_ALL, true, true, None_Receiver, None_Receiver, completion);
#endif
}

// Whether this backend holds a lock in just that mode.
inline bool HoldsLock(const LOCKTAG& tag, LOCKMODE mode) {
#if PG_VERSION_NUM >= 170000
  return LockHeldByMe(&tag, mode, false);
#else
  return LockHeldByMe(&tag, mode);
#endif
}

// Nobody can change the setting in this process any more, by whatever way.
inline void ForbidSetting(const char* name) {
#if PG_VERSION_NUM >= 160000
  config_generic* setting = find_option(name, false, false, ERROR);
  setting->context = PGC_INTERNAL;
#else
  config_generic** settings = get_guc_variables();
  for (int i = 0; i < GetNumConfigOptions(); ++i)
    if (strcmp(settings[i]->name, name) == 0) settings[i]->context = PGC_INTERNAL;
#endif
}

inline bool OwnsDatabase(Oid database, Oid user) {
#if PG_VERSION_NUM >= 160000
  return object_ownercheck(DatabaseRelationId, database, user);
#else
  return pg_database_ownercheck(database, user);
#endif
}

inline bool OwnsRelation(Oid relation, Oid user) {
#if PG_VERSION_NUM >= 160000
  return object_ownercheck(RelationRelationId, relation, user);
#else
  return pg_class_ownercheck(relation, user);
#endif
}

// What the server asks before REINDEX of a table's indexes; since 17 it also asks this before
// VACUUM and ANALYZE, whatever the table's owner.
inline bool MaintainsTable(Oid table, Oid user) {
#if PG_VERSION_NUM >= 170000
  return pg_class_aclcheck(table, user, ACL_MAINTAIN) == ACLCHECK_OK;
#else
  return OwnsRelation(table, user);
#endif
}

// The table that the server counts these rows for.
inline Oid RelationOf(const PgStat_TableXactStatus* rows) {
#if PG_VERSION_NUM >= 160000
  return rows->parent->id;
#else
  return rows->parent->t_id;
#endif
}

// Whether this transaction has locked the relation in just that mode.
inline bool HoldsLock(Oid relation, LOCKMODE mode) {
  LOCKTAG tag;
  SET_LOCKTAG_RELATION(tag, MyDatabaseId, relation);
#if PG_VERSION_NUM >= 170000
  return LockHeldByMe(&tag, mode, false);
#else
  return LockHeldByMe(&tag, mode);
#endif
}

// The path of the first segment of a main fork in this database.
inline void CopyDataFilePath(Oid tablespace, Oid filenode, char* path, Size size) {
  constexpr int kNoBackend = -1;  // not a temporary relation
#if PG_VERSION_NUM >= 180000
  const RelPathStr made =
      GetRelationPath(MyDatabaseId, tablespace, filenode, kNoBackend, MAIN_FORKNUM);
  strlcpy(path, made.str, size);
#else
  char* made = GetRelationPath(MyDatabaseId, tablespace, filenode, kNoBackend, MAIN_FORKNUM);
  strlcpy(path, made, size);
  pfree(made);
#endif
}

// This process's place in the array of all processes, backends first.
inline uint32 OwnProcNumber() {
#if PG_VERSION_NUM >= 170000
  return static_cast<uint32>(MyProcNumber);
#else
  return static_cast<uint32>(MyProc->pgprocno);
#endif
}

inline int64 QueryIdOf(const PlannedStmt* statement) {
  return static_cast<int64>(statement->queryId);
}

}  // namespace train_perf
