# shellcheck shell=sh disable=SC2034,SC2154 # variables of capture
# Reading the whole statistics while 5,000 statements are known, under load (POSIX sh; to be sourced).

known=5000

view() {
  case $1 in
    train_perf) echo query_stats ;;
    *) echo pg_stat_statements ;;
  esac
}

# Reads the view, each time half a second after the last; the mean time of a read in ms goes to DIR/read.
read_repeatedly() {
  enter "$1"
  printf '\\sleep 500 ms\nSELECT * FROM %s;\n' "$(view "$2")" >"$1/read.sql"
  pgbench -n -c 1 -T "$seconds" -r -f "$1/read.sql" bench 2>&1 |
    awk '/SELECT \* FROM/ && $1 > 0 { print $1 }' >"$1/read"
}

# A record for compare, with the time of a read behind it; the variants are without and with reads.
reading_slice() {
  server=$work/reading/$1
  if [ "$variant" = 'with reads' ]; then read_repeatedly "$server" "$1" & fi
  measured=$(record "$server" 2 -M simple -f "$work/reading/statements")
  wait
  printf '%s\t%s\n' "$measured" "$(cat "$server/read" 2>/dev/null)"
}

# Every other round begins with reads.
reading_turn() {
  row=$variant
  if [ $((round % 2)) -eq 1 ]; then first='without reads' second='with reads'; else first='with reads' second='without reads'; fi
  for variant in "$first" "$second"; do
    rm -f "$work/reading/$row/read"
    reading_slice "$row"
  done
}

bench_reading() (
  variants=$(for variant in $(peers); do [ "$variant" = pg_stat_kcache ] || echo "$variant"; done)
  distinct_script "random(0, $known - 1)" >"$work/reading/statements"
  start_variants reading 'pg_stat_statements.max = 10000
train_perf.max_statements = 10000'
  for variant in $variants; do fill "$work/reading/$variant" "$known"; done
  in_turns reading_turn >"$work/reading/measured"
  stop_variants reading
  text '### Reading' "Statements per second of 2 clients, without and with a read of the whole view every half second;
$known statements are known:"
  perl "$bench/lib/compare.pl" 2 '%.0f' variant 'without reads' 'with reads' <"$work/reading/measured" | table
  text 'The time of a read in ms:'
  awk -F '\t' -v OFS='\t' '$7 != "" { print "the whole view", $2, $1, $7 }' "$work/reading/measured" >"$work/reading/times"
  perl "$bench/lib/compare.pl" 1 '%.1f' read pg_stat_statements train_perf <"$work/reading/times" | table
)
