# shellcheck shell=sh disable=SC2154 # variables of bloat
# How right the estimates are (POSIX sh; to be sourced).
#
# Each method looks at the same state of a table or index; then it is rewritten, and its size is the truth.
# Tables and indexes are in databases of their own, where nobody's snapshot keeps rows of the other alive.

# both COMMAND…: COMMAND… DATABASE for both of them at once.
both() {
  for database in tables indexes; do
    "$@" "$database" >"$work/accuracy/$database.log" 2>&1 &
    eval "pid_$database=$!"
  done
  for database in tables indexes; do
    eval "wait \"\$pid_$database\"" || {
      tail -n 20 "$work/accuracy/$database.log" >&2
      fail "failed: $* $database"
    }
  done
}

build_bed() {
  create_database "$1"
  query_in "$1" -f "$bench/lib/bed_$1.sql"
  query_in "$1" -f "$bench/lib/bed_measure.sql"
}

# By methods that are not to disturb each other.
measure_bed() { query_in "$1" -c "CALL measure_all($rounds)"; }

# Nobody holds a snapshot now, so nothing that is dead stays.
rewrite_bed() {
  query_in "$1" <<'END'
SELECT format(CASE kind WHEN 'heap' THEN 'VACUUM FULL %s' ELSE 'REINDEX INDEX %s' END, relation) FROM cases \gexec
END
}

# cases_table DATABASE METHOD…: of several rounds, the one with the largest error.
cases_table() {
  database=$1
  shift
  {
    printf 'case\tkind\tmethod\tMB\tbloat'
    printf '\t%s' "$@"
    echo
    query_in "$database" -v methods="$(printf '%s|' "$@")" <<'END'
WITH worst AS (
  SELECT DISTINCT ON (name, method) * FROM runs ORDER BY name, method, error DESC NULLS LAST
), cell AS (
  SELECT r.name, r.kind, r.size, r.bloat, m.position, w.source,
         CASE WHEN w.error IS NULL THEN '-'
              ELSE format('%s (%s)', round(w.estimated_bloat, 1), round(w.error, 1)) END AS text
    FROM (SELECT DISTINCT name, kind, size, bloat FROM runs) AS r
   CROSS JOIN regexp_split_to_table(trim(trailing '|' FROM :'methods'), '\|') WITH ORDINALITY AS m (method, position)
    LEFT JOIN worst AS w USING (name, method)
)
SELECT name, kind, min(source) FILTER (WHERE position = 1), round(size / 1048576.0, 1), round(bloat, 1),
       string_agg(text, E'\t' ORDER BY position)
  FROM cell GROUP BY name, kind, size, bloat ORDER BY kind, (SELECT min(c.relation::oid) FROM cases AS c WHERE c.name = cell.name);
END
  } | table
}

sums() {
  query_in "$1" <<'END'
SELECT kind, method, count(DISTINCT name) FILTER (WHERE error IS NOT NULL), round(avg(error), 2), round(max(error), 1),
       (array_agg(name ORDER BY error DESC NULLS LAST))[1],
       count(DISTINCT name) FILTER (WHERE bloat < 10 AND estimated_bloat >= 30),
       count(DISTINCT name) FILTER (WHERE bloat >= 45 AND estimated_bloat < 20),
       round(sum(ms) / 1000 / max(round), 2), round(sum(blocks) / max(round))
  FROM runs GROUP BY kind, method
 ORDER BY array_position(ARRAY['heap', 'btree', 'gist', 'gin', 'spgist', 'hash', 'brin'], kind), min(ARRAY[method NOT LIKE 'ours%']), method DESC;
END
}

sums_table() {
  printf 'kind\tmethod\tcases\tmean error\tworst\tits case\tfalse alarms\tmissed\tseconds\tblocks\n'
  sums tables
  sums indexes
}

# Of uniform tables: the larger of the errors of live and dead tuples, in % of both.
tuples() {
  query_in tables <<'END'
SELECT r.method, r.name, round(max(100 * greatest(abs(r.live - e.live), abs(r.dead - e.dead)) / greatest(e.live + e.dead, 1)), 2)
  FROM runs AS r JOIN runs AS e ON e.name = r.name AND e.method = 'pgstattuple'
 WHERE r.uniform AND r.method LIKE 'ours%' GROUP BY r.method, r.name ORDER BY 1, 3 DESC NULLS FIRST, 2;
END
}

tuples_table() {
  printf 'method\tuniform tables\tmean error, %%\tworst, %%\tits case\tover 2 %%\n'
  awk -F '\t' -v OFS='\t' '
    !($1 in n) { order[++methods] = $1; worst[$1] = $3; at[$1] = $2 }
    { ++n[$1]; sum[$1] += $3; over[$1] += $3 == "" || $3 > 2 }
    END { for (i = 1; i <= methods; ++i) { m = order[i]; printf "%s\t%d\t%.2f\t%s\t%s\t%d\n", m, n[m], sum[m] / n[m], worst[m], at[m], over[m] } }' "$1"
}

# Of runs with 1000 pages. Mean and worst of heap and btree are those of both.
check_accuracy() {
  for database in tables indexes; do
    query_in "$database" <<'END'
SELECT kind, name, bloat, estimated_bloat, error, source FROM runs WHERE method = 'ours, 1000 pages';
END
  done | awk -F '\t' '
    $1 == "heap" || $1 == "btree" { most = 3; ++n; sum += $5 }
    $1 == "gist" || $1 == "gin" || $1 == "spgist" { most = 5 }
    $1 == "hash" || $1 == "brin" { most = 1 }
    $5 == "" { none[$1 ": " $2] = $6; next }
    $5 > most && $5 > worst[$1 ": " $2] { worst[$1 ": " $2] = $5; limit[$1 ": " $2] = most }
    $3 < 10 && $4 >= 30 { alarm[$1 ": " $2] = $4 }
    $3 >= 45 && $4 < 20 { miss[$1 ": " $2] = $4 }
    END {
      if (n == 0 || sum / n > 0.5) printf "mean error of heap and btree: %.2f, not 0.5\n", n ? sum / n : 0
      for (c in none) printf "%s: no estimate (%s)\n", c, none[c]
      for (c in worst) printf "%s: error %.1f, not %d\n", c, worst[c], limit[c]
      for (c in alarm) printf "%s: false alarm (%.0f)\n", c, alarm[c]
      for (c in miss) printf "%s: missed (%.0f)\n", c, miss[c]
    }' | sort >>"$work/missed"
  awk -F '\t' '$1 ~ /1000/ && ($3 == "" || $3 > 2) { printf "heap: %s: tuples are off by %s %%, not 2\n", $2, $3 }' "$1" >>"$work/missed"
}

bench_accuracy() {
  start_bed "$work/accuracy"
  both build_bed
  for database in tables indexes; do measure_bed "$database"; done
  both rewrite_bed
  text '### Accuracy' "Bloat is what a rewrite takes away, in % of the present size: in truth, and as estimated, with the
error in points behind it; the largest of $rounds rounds for ours."
  cases_table tables 'ours, 1000 pages' 'ours, 200 pages' pgstattuple pgstattuple_approx n_live_tup ioguix
  cases_table indexes 'ours, 1000 pages' 'ours, 200 pages' pgstatindex pgstattuple
  text 'In sum: errors in points, over all rounds; time and blocks of one round.'
  sums_table | table
  text 'Live and dead tuples where all pages are alike, against an exact count; the larger of both errors:'
  tuples >"$work/accuracy/tuples"
  tuples_table "$work/accuracy/tuples" | table
  check_accuracy "$work/accuracy/tuples"
}
