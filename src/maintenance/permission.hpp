// Who may have a relation maintained: what the server itself asks before VACUUM, ANALYZE and
// REINDEX. Two of those only warn somebody who may not and then succeed, and a worker runs as
// superuser.
#pragma once

#include "pg/prelude.hpp"

namespace train_perf {

enum class MaintenanceKind { kVacuum, kReindex };

// Whether a role may do it to a relation: for kVacuum (also ANALYZE) its owner, a superuser and,
// unless it is shared, the owner of the database; for kReindex the owner and a superuser; from 17
// on in place of the owner whoever has MAINTAIN, as pg_maintain has. For an index its table counts,
// for one of a TOAST table that TOAST table. False if there is no such relation.
bool MayMaintain(Oid relation, Oid role, MaintenanceKind kind);

}  // namespace train_perf
