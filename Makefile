# make && make install, then shared_preload_libraries = 'train_perf' and make installcheck.
# Without clang and llvm: make with_llvm=no.
EXTENSION = train_perf
EXTVERSION = 0.4
MODULE_big = train_perf
SOURCES = $(foreach part,core pg capture snapshot maintenance worker alert access entry,$(sort $(wildcard src/$(part)/*.cpp)))
OBJS = $(SOURCES:.cpp=.o)

# The install script is these parts, one after the other.
SQL_PARTS = src/entry/preamble.sql src/capture/capture.sql src/capture/history.sql src/capture/snapshot.sql \
	src/snapshot/coverage.sql src/snapshot/foreign_keys.sql src/snapshot/estimate.sql src/snapshot/bloat.sql src/snapshot/usage.sql \
	src/capture/status.sql src/snapshot/findings.sql src/alert/alert.sql src/alert/snapshots.sql \
	src/maintenance/window.sql src/maintenance/jobs.sql src/maintenance/reindex.sql src/maintenance/retention.sql \
	src/maintenance/schedule.sql src/maintenance/engine.sql \
	src/access/access.sql src/access/lockdown.sql
DATA_built = $(EXTENSION)--$(EXTVERSION).sql
# Full scripts of earlier versions, frozen, and the way from each to the next.
DATA = $(sort $(wildcard releases/*.sql))

REGRESS = $(sort $(patsubst sql/%.sql,%,$(wildcard sql/*.sql)))

PG_CONFIG ?= pg_config
# System headers: those of PostgreSQL 15 say `register`, which C++17 took away.
PG_CPPFLAGS = -isystem $(shell $(PG_CONFIG) --includedir-server) -Isrc
PG_CXXFLAGS = -std=c++20 -Wall -Wextra -Werror -fvisibility=hidden -fno-plt
# PGXS links with the C compiler.
SHLIB_LINK += -lstdc++
EXTRA_CLEAN = $(OBJS:.o=.d) test/isolation/output

PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

# Its bitcode rule does not know PG_CXXFLAGS, and Debian builds without dependencies on headers. clang
# also warns inside the server's macros: HOLD_INTERRUPTS increments a volatile.
BITCODE_CXXFLAGS += $(PG_CXXFLAGS) -Wno-deprecated-volatile
override CXXFLAGS += -MMD -MP
-include $(OBJS:.o=.d)
$(OBJS:.o=.bc): %.bc: %.o

$(DATA_built): $(SQL_PARTS) Makefile
	set -e; for part in $(SQL_PARTS); do echo "-- $$part"; cat "$$part"; done >$@.tmp
	mv $@.tmp $@
