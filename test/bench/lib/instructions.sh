# shellcheck shell=sh disable=SC2154 # variables of capture
# Instructions and system calls for each statement (POSIX sh; to be sourced).
#
# The whole server runs under callgrind; what is read is the one backend that works for pgbench. Two
# backends run the same statements, one more of them than the other: the difference is what statements cost,
# without the start and end of a session. (Counts begin in PostgresMain: a backend inherits those of the
# postmaster, which grow with each connection.) Left out is what depends on timing: reading from the client, which
# may have to wait, and the server's own statistics, sent once a second, with their timer. So are the system
# calls of reading clocks, which there are only under callgrind.

few=200 many=1000

# NAME PROTOCOL SCRIPT
workloads() {
  cat <<END
SELECT 1, prepared	prepared	select1
primary key, prepared	prepared	lookup
SELECT 1 with 10 kB comment, prepared	prepared	comment
SELECT 1, simple	simple	select1
primary key, simple	simple	lookup
END
}

# Few keys, so that no run finds pages to be read for the first time.
write_counted_scripts() {
  echo 'SELECT 1;' >"$1/select1"
  cat >"$1/lookup" <<END
\\set aid random(1, 1000)
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
END
  printf 'SELECT /*%010240d*/ 1;\n' 0 >"$1/comment"
}

# DIR/bin with a pg_ctl that starts the server under callgrind, which writes DIR/callgrind.PID.
callgrind_programs() {
  mkdir -p "$1/bin"
  cat >"$1/bin/postgres" <<END
#!/bin/sh
exec valgrind -q --tool=callgrind --vgdb=no --collect-systime=yes --zero-before=PostgresMain \\
  --callgrind-out-file='$1/callgrind.%p' '$PG_BIN/postgres' "\$@"
END
  cat >"$1/bin/pg_ctl" <<END
#!/bin/sh
exec '$PG_BIN/pg_ctl' -p '$1/bin/postgres' "\$@"
END
  chmod 755 "$1/bin" "$1"/bin/*
}

# run_counted DIR PROTOCOL SCRIPT EXECUTIONS: the name of the file that callgrind wrote.
run_counted() {
  enter "$1"
  quietly pgbench -n -M "$2" -f "$work/instructions/$3" -t "$4" --random-seed=1 bench
  pid=$(sed -n 's/^\([0-9]*\) .*connection authorized:.*application_name=pgbench$/\1/p' "$1/server.log" | tail -n 1)
  wait_for_exit "$pid"
  echo "$1/callgrind.$pid"
}

# Statements are known from the start, so that storing their text does not count.
warm_up() {
  enter "$1"
  for protocol in prepared simple; do
    quietly pgbench -n -M "$protocol" -t 50 --random-seed=1 \
      -f "$work/instructions/select1" -f "$work/instructions/lookup" -f "$work/instructions/comment" bench
  done
}

# Two lines for each workload and variant: WORKLOAD VARIANT instructions system_calls
measure_instructions() {
  workloads | while IFS='	' read -r workload protocol script; do
    for variant in $variants; do
      server=$work/instructions/$variant
      short=$(run_counted "$server" "$protocol" "$script" "$few")
      long=$(run_counted "$server" "$protocol" "$script" "$many")
      printf '%s\t%s\t%s\n' "$workload" "$variant" \
        "$(perl "$bench/lib/callgrind.pl" total "$short" "$long" "$((many - few))")"
      if [ -n "$profile" ] && [ "$variant" = train_perf ]; then
        {
          echo "$workload:"
          perl "$bench/lib/callgrind.pl" profile "$short" "$long" "$((many - few))" train_perf.so
        } >>"$work/instructions/profile"
      fi
    done
  done
}

# added_table COLUMN FORMAT: what each variant adds to none, and its ratio to what pg_stat_statements adds.
added_table() {
  awk -F '\t' -v variants="$variants" -v column="$1" -v format="$2" '
    !($1 in seen) { seen[$1]; order[++workloads] = $1 }
    { value[$1, $2] = $column; known[$2] }
    END {
      count = split(variants, names, " ")
      compared = ("none" in known) && ("pg_stat_statements" in known) && ("train_perf" in known)
      line = "statement"
      for (v = 1; v <= count; ++v) line = line "\t" (names[v] == "none" || !("none" in known) ? "" : "+ ") names[v]
      print line (compared ? "\ttrain_perf / pg_stat_statements" : "")
      for (w = 1; w <= workloads; ++w) {
        none = value[order[w], "none"]
        line = order[w]
        for (v = 1; v <= count; ++v)
          line = line "\t" sprintf(format, value[order[w], names[v]] - (names[v] == "none" ? 0 : none))
        peer = value[order[w], "pg_stat_statements"] - none
        if (compared)
          line = line "\t" (peer < 1 ? "-" : sprintf("%.2f", (value[order[w], "train_perf"] - none) / peer))
        print line
      }
    }' "$work/instructions/measured" | table
}

bench_instructions() {
  write_counted_scripts "$work/instructions"
  real_bin=$PG_BIN
  for variant in $variants; do
    PG_BIN=$real_bin
    callgrind_programs "$work/instructions/$variant"
    PG_BIN=$work/instructions/$variant/bin
    start_variant "$work/instructions/$variant" "$variant" "log_connections = on
log_line_prefix = '%p '
track_counts = off"
    warm_up "$work/instructions/$variant"
  done
  measure_instructions >"$work/instructions/measured"
  stop_variants instructions
  PG_BIN=$real_bin
  text '### Instructions' 'Of each statement, added by each extension:'
  added_table 3 '%.0f'
  text 'System calls of each statement, added by each extension:'
  added_table 4 '%.2f'
  [ -z "$profile" ] || cat "$work/instructions/profile"
}
