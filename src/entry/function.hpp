// How the SQL-callable functions are declared: inside extern "C", before their definition.
#pragma once

#include "pg/prelude.hpp"

#define TRAIN_PERF_FUNCTION(name)           \
  PGDLLEXPORT Datum name(PG_FUNCTION_ARGS); \
  PG_FUNCTION_INFO_V1(name)
