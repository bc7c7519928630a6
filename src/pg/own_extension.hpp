// The extension in this database, and transactions of workers that call its functions.
#pragma once

#include "pg/prelude.hpp"

namespace train_perf {

struct OwnExtension {
  Oid oid;  // InvalidOid where only the rest is known
  Oid owner;
  Oid schema;
};

// In a transaction of its own. False if the extension is not here, or this is no place for it: a
// template, or a database that takes no connections.
bool FindOwnExtension(OwnExtension* extension);

// Whether the relation belongs to it. Partitions that were attached to a relation of ours do not.
bool IsOurs(Oid relation);

// The extension that a function of ours belongs to, whoever calls it.
OwnExtension ExtensionOf(Oid function);

// A transaction with a snapshot as the owner of the extension: triggers and defaults that somebody
// put on our tables must not run with a worker's rights, nor what they deferred to the commit. An
// error ends it as any transaction.
struct OwnerTransaction {
  Oid user;
  int context;
};
OwnerTransaction BeginAsOwner(const OwnExtension& extension);
void CommitAsOwner(const OwnerTransaction& transaction);

// The extension's schema, quoted where needed; 3F000 if it is gone.
const char* QuotedSchema(const OwnExtension& extension);

}  // namespace train_perf
